"""Tiny models and training tasks for the tests of ulmfit, and both models seen as a pair of functions of
dictionaries of arrays, which is what `gradcheck` takes."""

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
from minilstm.pooling import concat_pool_forward
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


lm_cases = st.builds(LMCase, T=sizes, B=st.integers(1, 4), E=st.integers(1, 4), carried=st.booleans(), **_common)


@dataclass
class ClassifierCase(ModelCase):
    lengths: str = "mixed"
    training: bool = True
    C: int = 3


classifier_cases = st.builds(
    ClassifierCase, T=sizes, B=st.integers(2, 5), E=st.integers(2, 4), C=st.integers(2, 4),
    lengths=length_kinds.filter(lambda kind: kind != "all zero"), training=st.booleans(), **_common,
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
        self.recurrent = case.carried or case.T > 1  # does any step read a state that is not zero?

    def run(self, inputs):
        load(self.model, inputs)
        return self.model.forward(self.ids, self.targets, self.states, masks=self.masks)

    def forward(self, inputs):
        return {"loss": self.run(inputs)[0]}

    def backward(self, inputs, d):
        return {name: d["loss"] * g for name, g in self.model.backward(self.run(inputs)[2]).items()}

    def smooth(self):
        return True

    def zero_by_nature(self):
        return set() if self.recurrent else {("loss", name) for name in self.inputs if "weight_hh" in name}


class ClassifierProblem:
    """A whole classifier: outputs logits and loss; inputs all its parameters."""

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

    def run(self, inputs):
        load(self.model, inputs)
        return self.model.forward(
            self.ids, self.lengths, self.stats, training=self.case.training, masks=self.masks
        )

    def loss(self, logits):
        return softmax_cross_entropy_forward(logits, self.labels)

    def forward(self, inputs):
        logits, _, _ = self.run(inputs)
        return {"logits": logits, "loss": self.loss(logits)[0]}

    def undo(self, d, n_unfrozen=None):
        """d: gradient of one output -> grads"""
        logits, _, cache = self.run(self.inputs)
        dlogits = d.get("logits")
        if dlogits is None:
            dlogits = softmax_cross_entropy_backward(d["loss"], self.loss(logits)[1])
        return self.model.backward(dlogits, cache, n_unfrozen)

    def backward(self, inputs, d):
        return self.undo(d)

    def smooth(self, margin=1e-3):
        """Are the maximum over time and ReLU off their kinks?"""
        h, _, _ = self.model.encoder.forward(self.ids, lengths=self.lengths, masks=self.masks.encoder)
        for b, n in enumerate(self.lengths):
            if n > 1 and np.diff(np.sort(h[:n, b], axis=0), axis=0)[-1].min() < margin:
                return False
        bn1, linear1, _, _ = self.model.head.children.values()
        pooled, _ = concat_pool_forward(h, self.lengths)
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
            grads = p.backward(p.inputs, {"loss": 1.0})
            zero = {x for _, x in p.zero_by_nature()}
            if all(abs(g).max() > 1e-5 for name, g in grads.items() if name not in zero):
                return p
    raise AssertionError(f"{case}: a gradient is always zero, or there is a kink everywhere")


# --- training ---------------------------------------------------------------------------------------------------------

REPETITIVE = [np.array([2, 9, 10, 11, 4, 5, 6, 7], np.int32)] * 12  # 96 words that repeat themselves


def lm_task(*, seed=0, dtype=np.float32, documents=REPETITIVE, **recipe):
    """Seven steps an epoch: 4 streams of 23 words in windows of 4, 4, 4, 4, 4 and 3."""
    recipe = LMTraining(**{"epochs": 1, "batch_size": 4, "lr": 0.02, "bptt": 4, "dropouts": DROPOUTS, **recipe})
    batches = LMBatches(documents, recipe.batch_size, recipe.bptt, seed=7)
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
