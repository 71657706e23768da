"""Tiny models and training tasks for the tests of ulmfit, and both models seen as a pair of functions of
dictionaries of arrays, which is what `gradcheck` takes."""

import math
from dataclasses import dataclass

import numpy as np
from hypothesis import strategies as st
from problems import copies, load
from strategies import length_kinds, normal, seeds, sizes, some_lengths

from minilstm import (
    Adam,
    LSTMState,
    MaskSource,
    dropout_forward,
    softmax_cross_entropy_backward,
    softmax_cross_entropy_forward,
)
from ulmfit.batching import LMBatches, TextBatches
from ulmfit.classifier import TextClassifier
from ulmfit.language_model import LanguageModel
from ulmfit.recipes import ClassifierTraining, Dropouts, LMTraining, ModelSize
from ulmfit.train import ClassifierTask, LMTask

SIZE = ModelSize(embedding=6, hidden=8, layers=2, head=5)
DROPOUTS = Dropouts(embedding=0.2, input=0.3, weight=0.3, hidden=0.3, output=0.3, head=(0.3, 0.3))
KINDS = ("embedding", "input", "weight", "hidden", "output")


def language_model(V=12, size=SIZE, *, seed=0, dtype=np.float64):
    return LanguageModel(V, size, rng=np.random.default_rng(seed), dtype=dtype, kernel="reference")


def classifier(V=12, size=SIZE, C=3, *, seed=0, dtype=np.float64):
    return TextClassifier(V, size, C, rng=np.random.default_rng(seed), dtype=dtype, kernel="reference")


def spread(model, rng):
    """Larger weights than those that training starts from: gradients that are not drowned in rounding."""
    for p in model.params.values():
        p[...] = normal(rng, *p.shape, dtype=p.dtype) * 1.2
    return model


# --- both models for gradcheck ----------------------------------------------------------------------------------------


@dataclass
class ModelCase:
    """Sizes, options and the seed of a call to a language model or a classifier."""

    T: int = 3
    B: int = 3
    V: int = 6
    E: int = 3
    H: int = 2
    layers: int = 2
    dropout: bool = True
    seed: int = 0

    @property
    def size(self):
        return ModelSize(embedding=self.E, hidden=self.H, layers=self.layers, head=4)


_common = {
    "V": st.integers(5, 8), "H": st.integers(2, 5), "layers": st.integers(1, 3), "dropout": st.booleans(),
    "seed": seeds,
}  # fmt: skip


@dataclass
class LMCase(ModelCase):
    carried: bool = True
    ar: float = 0.0
    tar: float = 0.0


_penalties = {"ar": st.sampled_from([0.0, 0.7]), "tar": st.sampled_from([0.0, 0.9])}
lm_cases = st.builds(
    LMCase, T=sizes, B=st.integers(1, 4), E=st.integers(1, 4), carried=st.booleans(), **_penalties, **_common
)


@dataclass
class ClassifierCase(ModelCase):
    lengths: str = "mixed"
    training: bool = True
    C: int = 3
    bptt: int = 70
    max_tokens: int = 1400
    ar: float = 0.0
    tar: float = 0.0

    @property
    def windows(self):
        """The options of a forward."""
        return {"bptt": self.bptt, "max_tokens": self.max_tokens, "ar": self.ar, "tar": self.tar}

    @property
    def n_pooled(self):
        """So many of a text's last words are pooled."""
        return self.bptt * math.ceil(self.max_tokens / self.bptt)


classifier_cases = st.builds(
    ClassifierCase, T=st.integers(1, 7), bptt=st.sampled_from([1, 2, 3, 70]), max_tokens=st.integers(1, 5),
    B=st.integers(2, 5), E=st.integers(2, 4), C=st.integers(2, 4),
    lengths=length_kinds.filter(lambda kind: kind != "all zero"), training=st.booleans(), **_penalties, **_common,
)  # fmt: skip


class LMProblem:
    """A whole language model: output loss; inputs all its parameters. The carried states are given, as values."""

    def __init__(self, case, attempt=0):
        rng = np.random.default_rng([case.seed, attempt])
        self.model = spread(language_model(case.V, case.size), rng)
        self.inputs = copies(self.model.params)
        self.ids, self.targets = rng.integers(0, case.V, (2, case.T, case.B))
        widths = [layer.params["weight_hh"].shape[1] for layer in self.model.encoder.children["lstm"].layers]
        self.states = [LSTMState(*normal(rng, 2, case.B, H)) for H in widths] if case.carried else None
        dropouts = DROPOUTS if case.dropout else Dropouts()
        self.masks = self.model.encoder.draw_masks(MaskSource(case.seed), attempt, case.B, dropouts)
        self.penalties = {"ar": case.ar, "tar": case.tar}
        self.recurrent = case.carried or case.T > 1  # does any step read a state that is not zero?

    def run(self, inputs):
        load(self.model, inputs)
        return self.model.forward(self.ids, self.targets, self.states, masks=self.masks, **self.penalties)

    def forward(self, inputs):
        return {"loss": self.run(inputs)[0]}

    def backward(self, inputs, d):
        return {name: d["loss"] * g for name, g in self.model.backward(self.run(inputs)[2]).items()}

    def probe(self):
        return self.backward(self.inputs, {"loss": 1.0})

    def smooth(self):
        return True

    def zero_by_nature(self):
        return set() if self.recurrent else {("loss", name) for name in self.inputs if "weight_hh" in name}


class ClassifierProblem:
    """A whole classifier: outputs logits and loss, penalties and all; inputs all its parameters.

    The state in which a window begins is a constant to its gradients. So it is one here: `forward`, which says what
    the gradients should be, goes through the pooled windows of each text alone, from states that were noted before.
    """

    def __init__(self, case, attempt=0, eps=0.1):
        """eps of the batch norms: with PyTorch's 1e-5 two rows are -1 and 1 whatever is below them, and hardly any
        gradient comes through to be checked."""
        rng = np.random.default_rng([case.seed, attempt])
        self.case = case
        self.model = spread(classifier(case.V, case.size, case.C), rng)
        for name in ("bn1", "bn2"):
            self.model.head.children[name].eps = eps
        self.inputs = copies(self.model.params)
        self.ids, self.labels = rng.integers(0, case.V, (case.T, case.B)), rng.integers(0, case.C, case.B)
        lengths = some_lengths(rng, case.lengths, case.T, case.B)
        self.lengths = np.full(case.B, case.T) if lengths is None else lengths
        self.stats = tuple(
            type(s)(normal(rng, *s.mean.shape), rng.uniform(0.5, 2, s.var.shape)) for s in self.model.initial_stats()
        )
        dropouts = DROPOUTS if case.dropout else Dropouts()
        self.masks = self.model.draw_masks(MaskSource(case.seed), attempt, case.B, dropouts)
        self.states = self.note_states()

    def run(self, inputs):
        load(self.model, inputs)
        return self.model.forward(
            self.ids, self.lengths, self.stats, training=self.case.training, masks=self.masks, **self.case.windows
        )

    def loss(self, logits):
        return softmax_cross_entropy_forward(logits, self.labels)

    def forward(self, inputs):
        load(self.model, inputs)
        h = self.pooled_windows()
        logits, _, _ = self.model.head.forward(
            self.pooled(h), self.stats, training=self.case.training, masks=self.masks.head
        )
        return {"logits": logits, "loss": self.loss(logits)[0] + self.penalty(h)}

    def spans(self, b):
        """Where row b's pooled windows begin and end, oldest first."""
        n, bptt = self.lengths[b], self.case.bptt
        ends = range(n, max(0, n - self.case.n_pooled), -bptt)
        return [(max(0, end - bptt), end) for end in reversed(ends)]

    def read(self, rows, spans, states):
        """Words of some rows -> what the encoder says of each row's, [(n, E)], its states"""
        masks = self.masks.encoder
        masks = masks._replace(inputs=[mask if mask is None else mask[:, rows] for mask in masks.inputs])
        lengths = np.array([end - start for start, end in spans])
        ids = np.zeros((lengths.max(), len(rows)), int)
        for n, (b, (start, end)) in enumerate(zip(rows, spans, strict=True)):
            ids[: end - start, n] = self.ids[start:end, b]
        h, states, _ = self.model.encoder.forward(ids, states, lengths=lengths, masks=masks)
        return [h[:length, n] for n, length in enumerate(lengths)], states

    def note_states(self):
        """{(row, start of a pooled window): states}, from reading all that comes before in one go"""
        sizes = [layer.hidden_size for layer in self.model.encoder.children["lstm"].layers]
        starts = [(b, start) for b in range(self.case.B) for start, _ in self.spans(b)]
        return {
            (b, start): self.read([b], [(0, start)], None)[1] if start
            else [LSTMState(np.zeros((1, H)), np.zeros((1, H))) for H in sizes]
            for b, start in starts
        }  # fmt: skip

    def pooled_windows(self):
        """For each row a list of what the encoder says in its pooled windows, (n, E) each."""
        spans, h = [self.spans(b) for b in range(self.case.B)], [[] for _ in range(self.case.B)]
        for k in range(max(map(len, spans))):  # the first windows of all rows together, then the second ones, ...
            rows = [b for b in range(self.case.B) if k < len(spans[b])]
            noted = [self.states[b, spans[b][k][0]] for b in rows]
            states = [LSTMState(*map(np.concatenate, zip(*layer, strict=True))) for layer in zip(*noted, strict=True)]
            for b, said in zip(rows, self.read(rows, [spans[b][k] for b in rows], states)[0], strict=True):
                h[b].append(said)
        return h

    def pooled(self, h):
        """(B, 3E)"""
        rows = [np.concatenate([np.zeros((0, self.case.E)), *windows]) for windows in h]
        return np.stack([
            np.concatenate([x[-1], x.max(axis=0), x.mean(axis=0)]) if len(x) else np.zeros(3 * self.case.E)
            for x in rows
        ])  # fmt: skip

    def penalty(self, h):
        windows = [window for row in h for window in row]
        changes = [np.diff(window, axis=0) for window in windows]
        penalty = 0.0
        for weight, parts in ((self.case.ar, windows), (self.case.tar, changes)):
            if any(map(len, parts)):
                penalty += weight * (np.concatenate(parts) ** 2).mean()
        return penalty

    def undo(self, d, n_unfrozen=None):
        """d: gradient of one output -> grads"""
        logits, _, cache = self.run(self.inputs)
        dlogits = d.get("logits")
        if dlogits is not None:
            return self.model.backward(dlogits, cache, n_unfrozen, dpenalty=0.0)
        dlogits = softmax_cross_entropy_backward(d["loss"], self.loss(logits)[1])
        return self.model.backward(dlogits, cache, n_unfrozen, dpenalty=d["loss"])

    def backward(self, inputs, d):
        return self.undo(d)

    def probe(self):
        """The gradients of the cross-entropy alone."""
        logits, _, _ = self.run(self.inputs)
        return self.undo({"logits": softmax_cross_entropy_backward(1.0, self.loss(logits)[1])})

    def smooth(self, margin=1e-3):
        """Are the maximum over time and ReLU off their kinks?"""
        h = self.pooled_windows()
        for row in h:
            if sum(map(len, row)) > 1 and np.diff(np.sort(np.concatenate(row), axis=0), axis=0)[-1].min() < margin:
                return False
        bn1, linear1, _, _ = self.model.head.children.values()
        pooled = self.pooled(h)
        x, _, _ = bn1.forward(pooled, self.stats[0], training=self.case.training)
        z, _ = linear1.forward(dropout_forward(x, self.masks.head[0]))
        return abs(z).min() > margin

    def zero_by_nature(self):
        """Texts of one word: no step reads a state that is not zero."""
        one_word = self.lengths.max() < 2
        return {(y, x) for y in ("logits", "loss") for x in self.inputs if one_word and "weight_hh" in x}


def well_posed(problem, case):
    """The case's first problem that is smooth where it stands and in which no gradient is zero by a mask's accident.

    A backward that never returned some gradient would find none, and fail here.
    """
    for attempt in range(300):
        p = problem(case, attempt)
        if p.smooth():
            grads = p.probe()
            zero = {x for _, x in p.zero_by_nature()}
            if all(abs(g).max() > 1e-5 for name, g in grads.items() if name not in zero):
                return p
    raise AssertionError(f"{case}: a gradient is always zero, or there is a kink everywhere")


# --- training ---------------------------------------------------------------------------------------------------------

REPETITIVE = [np.array([2, 9, 10, 11, 4, 5, 6, 7], np.int32)] * 12  # 96 words that repeat themselves


def lm_task(*, seed=0, dtype=np.float32, documents=REPETITIVE, **recipe):
    """Seven steps an epoch: 4 streams of 23 words in windows of 4, 4, 4, 4, 4 and 3."""
    recipe = LMTraining(**{"epochs": 1, "batch_size": 4, "lr": 0.02, "bptt": 4, "dropouts": DROPOUTS, **recipe})
    batches = LMBatches(documents, recipe.batch_size, recipe.bptt, seed=7, variable=recipe.variable_bptt)
    return LMTask(language_model(seed=seed, dtype=dtype), batches, recipe, MaskSource(7))


def separable_texts(n=20, seed=3):
    """Texts of 2 to 6 words of which exactly one, 9, 10 or 11, says the class."""
    rng = np.random.default_rng(seed)
    labels = np.arange(n) % 3
    texts = [np.array([2, *rng.integers(3, 9, rng.integers(0, 5)), 9 + k], np.int32) for k in labels]
    return texts, labels


def classifier_task(*, seed=0, dtype=np.float32, **recipe):
    """Four steps an epoch: batches of 5."""
    recipe = ClassifierTraining(**{"epochs": 1, "batch_size": 5, "lr": 0.02, "dropouts": DROPOUTS, **recipe})
    texts, labels = separable_texts()
    batches = TextBatches(texts, labels, recipe.batch_size, seed=7)
    return ClassifierTask(classifier(seed=seed, dtype=dtype), batches, recipe, MaskSource(7))


def first_carry(task):
    return task.model.initial_stats() if isinstance(task, ClassifierTask) else None


def adam(task):
    return Adam(betas=task.recipe.betas, weight_decay=task.recipe.weight_decay)
