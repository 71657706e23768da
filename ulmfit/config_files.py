"""Configurations as YAML and back. `ulmfit run --config config.yaml` replays a run; `--set` changes one constant."""

import dataclasses
import difflib
import reprlib
import types
import typing

from .config import RunConfig, check
from .errors import InputError
from .plain_yaml import parse_yaml, read_yaml, why_not
from .recipes import RECIPES, Recipe
from .saving import save_text


def save_config(config, path):
    """Write a (nested) dataclass as YAML."""
    import yaml

    text = yaml.safe_dump(_plain(config), sort_keys=False, allow_unicode=True)
    save_text(path, text)


def load_config(path) -> RunConfig:
    """Read a RunConfig back. Raises InputError that names the file and every key or value that does not fit."""
    import yaml

    try:
        data = read_yaml(path)
    except OSError as e:
        raise InputError(f"{path}: cannot be read ({e.strerror}); name the config.yaml of a run") from e
    except (ValueError, yaml.YAMLError) as e:  # ValueError: no UTF-8, or a date that does not exist
        raise InputError(f"{path}: not YAML: {why_not(e)}; compare it with the config.yaml of a run") from e
    try:
        return from_plain(RunConfig, data)
    except InputError as e:
        raise InputError(f"{path}: {e}") from None


def is_config(path) -> bool:
    """Does this file look like a configuration of a run, this version's or another's?"""
    import yaml

    try:
        data = read_yaml(path)
    except (OSError, ValueError, yaml.YAMLError):
        return False
    return isinstance(data, dict) and {"dataset", "recipe"} <= data.keys()


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
            part[last] = parse_yaml(value)
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
    alike = [k for k in known if k.split(".")[-1] == last]
    close = difflib.get_close_matches(name, known, n=3, cutoff=0.8 if alike else 0.6)  # 0.8: a slip of the keys
    if close := (close[:1] if alike and close else close) or alike[:3]:
        return f"did you mean {', '.join(close)}?"
    return f"there are {', '.join(known[:6])} and {len(known) - 6} more, all in a run's config.yaml"


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


IN_WORDS = {int: "a whole number", float: "a number", str: "text", bool: "true or false"}


def _convert(hint, value, where):
    """`value` as the type `hint` says: a dataclass, a tuple, a union with None, or a plain type."""
    if dataclasses.is_dataclass(hint):
        return from_plain(hint, value, where + ".")
    args = typing.get_args(hint)
    if isinstance(hint, types.UnionType):
        if value is None and type(None) in args:
            return None
        return _convert(next(a for a in args if a is not type(None)), value, where)
    if typing.get_origin(hint) is tuple and args[-1] is Ellipsis:
        if not isinstance(value, list | tuple):
            raise InputError(f"{where}: expected a list, got {reprlib.repr(value)}")
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
