"""A trained run, ready to answer: text in, class probabilities out."""

import shlex
from pathlib import Path

import numpy as np

from minilstm import NonFiniteError
from minilstm.loss import log_softmax

from .batching import encode
from .config import DIRECTIONS
from .devices import loaded_to
from .errors import InputError
from .evaluation import predict_logits
from .model_files import MODEL, Loaded, load_model
from .progress import Silent
from .text import tokenize


class Predictor:
    """One classifier, or a forward and a backward one whose class probabilities are averaged (Howard & Ruder 2018,
    section 3.4).

        predictor = Predictor.load("runs/quickstart")
        probabilities = predictor.predict_proba(["What is the capital of France ?"])   # (1, C)
    """

    def __init__(self, classifiers: list[Loaded]):
        if not classifiers:
            raise InputError("classifiers: expected at least one, got none")
        self.classifiers = classifiers
        self.classes = classifiers[0].classes
        if any(c.classes != self.classes for c in classifiers):
            raise InputError("the forward and the backward classifier do not have the same classes; train them anew")

    @classmethod
    def load(cls, run, device="cpu"):
        """run: a run directory, with `forward/` and `backward/` in it or a single model; device: where to compute,
        "cpu" or "cuda". Raises InputError, also where a run was stopped before its last classifier was trained."""
        run = Path(run)
        if not run.is_dir():
            what = "is a file" if run.is_file() else "no such folder"
            raise InputError(f"{run}: {what}; expected the folder of a run, as `ulmfit run` writes one")
        parts = [run / d for d in DIRECTIONS if (run / d / MODEL).is_file()] or [run]
        if len(parts) < len(DIRECTIONS) and not (run / MODEL).is_file():
            _refuse_unfinished(run)  # one of two would answer for both
        return cls([loaded_to(load_model(part, "classifier"), device) for part in parts])

    def predict_proba(self, texts) -> np.ndarray:
        """Texts -> probabilities (N, C), rows in the order of the texts, columns in the order of `classes`.

        A blank one is a text without words, and has an answer like any other. TypeError for what is no text."""
        return self.predict_proba_each(texts).mean(axis=0)

    def predict_proba_each(self, texts, progress=None) -> np.ndarray:
        """Texts -> the probabilities that each classifier gives, (number of classifiers, N, C).

        progress: a Progress, which is told how far the reading is."""
        texts = [texts] if isinstance(texts, str) else list(texts)
        for n, text in enumerate(texts):
            if not isinstance(text, str):
                raise TypeError(f"texts[{n}]: expected a str, got {type(text).__name__}")
        tokens = [tokenize(text) for text in texts]
        if not tokens:
            return np.zeros((len(self.classifiers), 0, len(self.classes)))
        progress, probabilities = progress or Silent(), []
        words, total = 0, len(self.classifiers) * sum(map(len, tokens))

        def read(n):
            nonlocal words
            words += n
            progress.reads(words, total)

        for c in self.classifiers:
            ids = [encode(t, c.vocab, c.direction) for t in tokens]
            logits = predict_logits(c.model, c.stats, ids, bptt=c.bptt, max_tokens=c.max_tokens, read=read)
            probabilities.append(np.exp(log_softmax(logits.astype(np.float64))))
        progress.end()
        if not np.isfinite(probabilities).all():
            raise NonFiniteError("the model's answers are not finite, so training diverged: lower its rate")
        return np.stack(probabilities)

    def predict(self, texts) -> list[str]:
        """The most probable class of each text."""
        return [self.classes[n] for n in self.predict_proba(texts).argmax(axis=1)]


def _refuse_unfinished(run):
    """Raise InputError where the run in this folder has begun and not ended."""
    from .run_dir import CONFIG, METRICS  # here: it takes a while to import, and few need it

    if (run / CONFIG).is_file() and not (run / METRICS).is_file():
        go_on = f"ulmfit run --resume --out {shlex.quote(str(run))}"
        raise InputError(f"{run}: this run is not finished; if it was stopped, to go on: {go_on}")
