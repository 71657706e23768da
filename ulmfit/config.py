"""All that determines a run, and what each value may be. On disk it is YAML: see config_files.py."""

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import NamedTuple

from .errors import InputError
from .groups import UNFREEZING
from .recipes import LAPTOP, OPTIMIZERS, ClassifierTraining, Dropouts, LMTraining, ModelSize, Recipe, Training
from .schedules import SCHEDULES
from .text import SPECIAL_TOKENS

DIRECTIONS = ("forward", "backward")
STAGES = ("pretrain", "finetune", "classify")
DEVICES = ("cpu", "cuda")
SHIPPED = "shipped"  # `pretrained`: the models that come with the package
SCRATCH = "none"  # `pretrained`: none at all; random weights, and no vocabulary but the task's


@dataclass(frozen=True)
class RunConfig:
    dataset: str | None = None  # a name of datasets.py, or a CSV, TSV or JSONL file; None: pre-training needs none
    stages: tuple[str, ...] = STAGES[1:]  # which of them, in this order
    data_dir: str | None = None
    test_file: str | None = None  # for a file as data set; without it 10 % are split off
    text_column: str = "text"
    label_column: str = "label"
    encoding: str = "utf-8"
    n_train: int | None = None  # only so many of the training texts
    seed: int = 1
    direction: str = "forward"  # or "backward", or "both"
    device: str = "cpu"  # or "cuda"; a run may go on on another one
    pretrained: str | None = SHIPPED  # or SCRATCH, or a language model's folder; None where "pretrain" is a stage
    pretrained_sha256: tuple[str, ...] | None = None  # of its files, one a direction; a run fills this in
    pretrain_text: str | None = None  # a corpus; None: the small embedded English text
    dataset_sha256: str | None = None  # of all its texts and labels, as they are divided; a run fills this in
    corpus_sha256: str | None = None  # of the text to pre-train on; and this
    recipe: Recipe = field(default_factory=lambda: LAPTOP)

    @property
    def directions(self):
        return DIRECTIONS if self.direction == "both" else (self.direction,)


class Limit(NamedTuple):
    """What a value must be beside its type, in words and as a test."""

    words: str
    holds: Callable[[object], bool]


def whole(low, high=None):
    words = f"a whole number from {low} " + ("up" if high is None else f"to {high:,}")
    return Limit(words, lambda n: low <= n <= (high or math.inf))


def one_of(names):
    return Limit(f"one of {', '.join(names)}", lambda name: name in names)


POSITIVE = Limit("a number above 0", lambda x: 0 < x < math.inf)
NOT_NEGATIVE = Limit("a number from 0 up", lambda x: 0 <= x < math.inf)
BELOW_ONE = Limit("a number from 0 to less than 1", lambda p: 0 <= p < 1)
EPOCHS = Limit("a number above 0, at most 1,000,000", lambda x: 0 < x <= 10**6)
SHARE = Limit("a number above 0, at most 1", lambda x: 0 < x <= 1)
RATIO = Limit("a number from 1 up", lambda x: 1 <= x < math.inf)

LIMITS = {  # for a tuple: what each of its members must be. None is left alone where the type allows it
    ModelSize: dict.fromkeys(("embedding", "hidden", "layers", "head"), whole(1, 100_000)),
    Dropouts: dict.fromkeys(("embedding", "input", "weight", "hidden", "output", "head"), BELOW_ONE),
    Training: {
        "epochs": EPOCHS, "batch_size": whole(1), "lr": POSITIVE, "lr_factor": POSITIVE, "lr_multipliers": POSITIVE,
        "schedule": one_of(SCHEDULES), "cut_frac": SHARE, "ratio": RATIO, "betas": BELOW_ONE,
        "weight_decay": NOT_NEGATIVE, "clip": POSITIVE, "ar": NOT_NEGATIVE, "tar": NOT_NEGATIVE,
        "skip_nonfinite": whole(0, 100_000),
    },
    LMTraining: {"bptt": whole(1), "optimizer": one_of(OPTIMIZERS), "nonmono": whole(1), "steps": whole(1)},
    ClassifierTraining: {
        "batch_size": whole(2), "unfreezing": one_of(UNFREEZING), "warm_cut_frac": SHARE, "bptt": whole(1),
        "max_tokens": whole(1),
    },
    Recipe: {"vocab_size": whole(len(SPECIAL_TOKENS) + 1), "min_freq": whole(1), "task_min_freq": whole(1)},
    RunConfig: {
        "dataset": Limit("a name or a file", bool), "stages": one_of(STAGES), "n_train": whole(2),
        "seed": whole(0, 2**64 - 1), "direction": one_of((*DIRECTIONS, "both")), "device": one_of(DEVICES),
        "pretrained": Limit(f"{SHIPPED}, {SCRATCH} or a folder", bool),
        "pretrain_text": Limit("a name, a file or a folder", bool),
    },
}  # fmt: skip


def check(config, where=""):
    """Raise InputError for the first value of a dataclass that is out of its limits. Types are from_plain's care."""
    limits = {}
    for cls in reversed(type(config).__mro__):
        limits |= LIMITS.get(cls, {})
    for name, limit in limits.items():
        value = getattr(config, name)
        for v in value if isinstance(value, tuple) else (value,):
            if v is not None and not limit.holds(v):
                raise InputError(f"{where}{name}: expected {limit.words}, got {v!r}")
    if isinstance(config, LMTraining) and any(config.dropouts.head):
        raise InputError(f"{where}dropouts.head: a language model has no head; expected [0, 0]")
    if isinstance(config, ClassifierTraining) and config.dropouts.output:
        raise InputError(f"{where}dropouts.output: a classifier has no decoder; the head's own are dropouts.head")
    if isinstance(config, RunConfig):
        _check_stages(config)


def _check_stages(config):
    """Whether the stages are in order, and have what they start from."""
    stages = config.stages
    if not stages or list(stages) != [s for s in STAGES if s in stages]:
        raise InputError(f"stages: expected some of {', '.join(STAGES)}, in this order, got {list(stages)}")
    if config.dataset is None and stages != STAGES[:1]:
        raise InputError(f"dataset: {stages[-1]} needs one; give its name or a CSV, TSV or JSONL file")
    if config.pretrained is None and STAGES[0] not in stages:
        raise InputError(f"pretrained: without the stage pretrain, {stages[0]} needs {SHIPPED}, {SCRATCH} or a folder")
    if config.pretrained is not None and STAGES[0] in stages:
        raise InputError("pretrained: the stage pretrain makes a new language model; leave one of them out")
