"""All that determines a run, as a dataclass and as YAML. `ulmfit run --config config.yaml` replays it."""

import dataclasses
import difflib
import types
import typing
from dataclasses import dataclass, field
from pathlib import Path

from .errors import InputError
from .recipes import LAPTOP, RECIPES, Recipe

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
    for change in changes:
        path, equals, value = change.partition("=")
        *parts, last = path.split(".")
        part = plain
        for name in parts:
            part = part.get(name) if isinstance(part, dict) else None
        if not equals or not isinstance(part, dict):
            raise InputError(f"--set {change}: expected NAME=VALUE with a name such as classify.epochs or size.hidden")
        try:
            part[last] = yaml.safe_load(value)
        except yaml.YAMLError:
            raise InputError(f"--set {change}: the value cannot be read") from None
    try:
        return from_plain(Recipe, plain)
    except InputError as e:
        raise InputError(f"--set: {e}") from None


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
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as e:
        raise InputError(f"{path}: cannot be read as a configuration: {' '.join(str(e).split())}") from e
    try:
        return from_plain(RunConfig, data)
    except InputError as e:
        raise InputError(f"{path}: {e}") from None


def _plain(value):
    """Dataclasses to dictionaries and tuples to lists, all the way down."""
    if dataclasses.is_dataclass(value):
        return {f.name: _plain(getattr(value, f.name)) for f in dataclasses.fields(value)}
    return [_plain(v) for v in value] if isinstance(value, list | tuple) else value


def from_plain(cls, data, where=""):
    """A dictionary to the dataclass `cls`, all the way down, with every key and type checked."""
    if not isinstance(data, dict):
        raise InputError(f"{where or 'the configuration'}: expected key: value pairs, got {type(data).__name__}")
    hints = typing.get_type_hints(cls)
    for key in data:
        if key not in hints:
            close = difflib.get_close_matches(str(key), hints, n=1)
            raise InputError(
                f"unknown key {where + str(key)!r}" + (f"; did you mean {close[0]!r}?" if close else "")
            )
    missing = [
        f.name for f in dataclasses.fields(cls)
        if f.name not in data and f.default is f.default_factory is dataclasses.MISSING
    ]
    if missing:
        raise InputError(f"missing key {where + missing[0]!r}")
    return cls(**{key: _convert(hints[key], value, f"{where}{key}") for key, value in data.items()})


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
            raise InputError(f"{where}: expected a list of {len(args)}, got {value!r}")
        return tuple(_convert(a, v, f"{where}[{n}]") for n, (a, v) in enumerate(zip(args, value, strict=True)))
    if hint is float and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    if not isinstance(value, hint) or (isinstance(value, bool) and hint is not bool):
        raise InputError(f"{where}: expected {hint.__name__}, got {value!r}")
    return value
