"""All that determines a run, as a dataclass and as YAML. `ulmfit run --config config.yaml` replays it."""

import dataclasses
import difflib
import math
import reprlib
import types
import typing
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from .errors import InputError
from .groups import UNFREEZING
from .recipes import LAPTOP, RECIPES, ClassifierTraining, Dropouts, LMTraining, ModelSize, Recipe, Training
from .schedules import SCHEDULES
from .text import SPECIAL_TOKENS

DIRECTIONS = ("forward", "backward")
STAGES = ("pretrain", "finetune", "classify")


@dataclass(frozen=True)
class RunConfig:
    dataset: str | None = None  # a name of datasets.py, or a CSV, TSV or JSONL file; None: pre-training needs none
    stages: tuple[str, ...] = STAGES  # which of them, in this order
    data_dir: str | None = None
    test_file: str | None = None  # for a file as data set; without it 10 % are split off
    text_column: str = "text"
    label_column: str = "label"
    encoding: str = "utf-8"
    n_train: int | None = None  # only so many of the training texts
    seed: int = 1
    direction: str = "forward"  # or "backward", or "both"
    pretrained: str | None = None  # the folder of a language model to start from, where "pretrain" is not a stage
    pretrain_text: str | None = None  # a corpus; None: the small embedded English text
    recipe: Recipe = field(default_factory=lambda: LAPTOP)

    @property
    def directions(self):
        return DIRECTIONS if self.direction == "both" else (self.direction,)


class Limit(typing.NamedTuple):
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

LIMITS = {  # for a tuple: what each of its members must be. None is left alone where the type allows it
    ModelSize: dict.fromkeys(("embedding", "hidden", "layers", "head"), whole(1, 100_000)),
    Dropouts: dict.fromkeys(("embedding", "input", "weight", "hidden", "output", "head"), BELOW_ONE),
    Training: {
        "epochs": EPOCHS, "batch_size": whole(1), "lr": POSITIVE, "lr_factor": POSITIVE,
        "schedule": one_of(SCHEDULES), "betas": BELOW_ONE, "weight_decay": NOT_NEGATIVE, "clip": POSITIVE,
    },
    LMTraining: {"bptt": whole(1), "steps": whole(1)},
    ClassifierTraining: {"batch_size": whole(2), "unfreezing": one_of(UNFREEZING), "max_tokens": whole(1)},
    Recipe: {"vocab_size": whole(len(SPECIAL_TOKENS) + 1), "min_freq": whole(1)},
    RunConfig: {
        "dataset": Limit("a name or a file", bool), "stages": one_of(STAGES), "n_train": whole(2),
        "seed": whole(0, 2**64 - 1), "direction": one_of((*DIRECTIONS, "both")), "pretrained": Limit("a folder", bool),
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
        raise InputError(f"pretrained: without the stage pretrain, {stages[0]} needs the folder of a language model")


def choose_recipe(name) -> Recipe:
    """A recipe by its name. Raises InputError for an unknown one."""
    if name not in RECIPES:
        close = difflib.get_close_matches(name, RECIPES, n=1)
        hint = f"; did you mean {close[0]!r}?" if close else ""
        raise InputError(f"unknown recipe {name!r}: there are {', '.join(RECIPES)}{hint}")
    return RECIPES[name]


def change_recipe(recipe, changes) -> Recipe:
    """The recipe with constants changed, each given as "classify.epochs=5". Raises InputError."""
    import yaml

    plain = _plain(recipe)
    known = list(_dotted(plain))
    for change in changes:
        name, equals, value = (part.strip() for part in change.partition("="))
        if not equals:
            raise InputError(f"--set {change}: expected NAME=VALUE, for instance --set classify.epochs=5")
        if name not in known:
            raise InputError(f"--set {change}: there is no constant {name!r}; {_similar(name, known)}")
        *parts, last = name.split(".")
        part = plain
        for p in parts:
            part = part[p]
        try:
            part[last] = yaml.safe_load(value)
        except (ValueError, yaml.YAMLError):
            raise InputError(f"--set {change}: the value cannot be read") from None
        try:
            from_plain(Recipe, plain)
        except InputError as e:
            raise InputError(f"--set {change}: {e}") from None
    return from_plain(Recipe, plain)


def _dotted(plain, prefix=""):
    """The names of all constants, as --set takes them."""
    for name, value in plain.items():
        if isinstance(value, dict):
            yield from _dotted(value, f"{prefix}{name}.")
        else:
            yield prefix + name


def _similar(name, known):
    """"did you mean ...", or what there is."""
    last = name.split(".")[-1]
    close = [k for k in known if k.split(".")[-1] == last] or difflib.get_close_matches(name, known, n=3)
    if close:
        return f"did you mean {', '.join(close[:3])}?"
    return f"there are {', '.join(known[:6])} and {len(known) - 6} more, all in a run's config.yaml"


def save_config(config, path):
    """Write a (nested) dataclass as YAML."""
    import yaml

    text = yaml.safe_dump(_plain(config), sort_keys=False, allow_unicode=True)
    Path(path).write_text(text, encoding="utf-8")


def load_config(path) -> RunConfig:
    """Read a RunConfig back. Raises InputError that names the file and every key or value that does not fit."""
    import yaml

    try:
        data = yaml.safe_load(Path(path).read_text(encoding="utf-8"))
    except OSError as e:
        raise InputError(f"{path}: cannot be read ({e.strerror}); name the config.yaml of a run") from e
    except (ValueError, yaml.YAMLError, RecursionError) as e:  # ValueError: no UTF-8, or a date that does not exist
        raise InputError(f"{path}: not YAML: {_why(e)}; compare it with the config.yaml of a run") from e
    try:
        return from_plain(RunConfig, data)
    except InputError as e:
        raise InputError(f"{path}: {e}") from None


def _why(error):
    """A YAML error in a few words, with its place."""
    mark = getattr(error, "problem_mark", None)
    if mark is None:
        return " ".join(str(error).split())
    return f"line {mark.line + 1}, column {mark.column + 1}: {error.problem}"


def is_config(path) -> bool:
    """Does this file look like a configuration of a run, this version's or another's?"""
    import yaml

    try:
        data = yaml.safe_load(Path(path).read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError, yaml.YAMLError):
        return False
    return isinstance(data, dict) and {"dataset", "recipe"} <= data.keys()


def validated(config) -> RunConfig:
    """The same configuration, made in code and not read from a file, with every type and limit checked."""
    return from_plain(RunConfig, _plain(config))


def _plain(value):
    """Dataclasses to dictionaries and tuples to lists, all the way down."""
    if dataclasses.is_dataclass(value):
        return {f.name: _plain(getattr(value, f.name)) for f in dataclasses.fields(value)}
    return [_plain(v) for v in value] if isinstance(value, list | tuple) else value


def from_plain(cls, data, where=""):
    """A dictionary to the dataclass `cls`, all the way down, with every key and type checked."""
    if not isinstance(data, dict):
        found = "nothing" if data is None else reprlib.repr(data)
        raise InputError(f"{where[:-1] or 'the configuration'}: expected 'key: value' lines, got {found}")
    hints = typing.get_type_hints(cls)
    for key in data:
        if key not in hints:
            close = difflib.get_close_matches(str(key), hints, n=1)
            hint = f"did you mean {close[0]!r}?" if close else f"there are {', '.join(hints)}"
            raise InputError(f"unknown key {where + str(key)!r}; {hint}")
    missing = [
        f.name for f in dataclasses.fields(cls)
        if f.name not in data and f.default is f.default_factory is dataclasses.MISSING
    ]
    if missing:
        raise InputError(f"missing key {where + missing[0]!r}")
    made = cls(**{key: _convert(hints[key], value, f"{where}{key}") for key, value in data.items()})
    check(made, where)
    return made


IN_WORDS = {int: "a whole number", float: "a number", str: "text"}


def _convert(hint, value, where):
    """`value` as the type `hint` says: a dataclass, a tuple, a union with None, or a plain type."""
    if dataclasses.is_dataclass(hint):
        return from_plain(hint, value, where + ".")
    args = typing.get_args(hint)
    if isinstance(hint, types.UnionType):
        if value is None and type(None) in args:
            return None
        return _convert(next(a for a in args if a is not type(None)), value, where)
    if typing.get_origin(hint) is tuple and args[-1] is Ellipsis and isinstance(value, list | tuple):
        return tuple(_convert(args[0], v, f"{where}[{n}]") for n, v in enumerate(value))
    if typing.get_origin(hint) is tuple:
        if not isinstance(value, list | tuple) or len(value) != len(args):
            raise InputError(f"{where}: expected a list of {len(args)}, got {reprlib.repr(value)}")
        return tuple(_convert(a, v, f"{where}[{n}]") for n, (a, v) in enumerate(zip(args, value, strict=True)))
    if hint is float and isinstance(value, int | str) and not isinstance(value, bool):
        try:
            return float(value)  # a str, because YAML takes 1e-3, without a point, for one
        except (ValueError, OverflowError):
            pass
    if not isinstance(value, hint) or (isinstance(value, bool) and hint is not bool):
        raise InputError(f"{where}: expected {IN_WORDS.get(hint, hint.__name__)}, got {reprlib.repr(value)}")
    return value
