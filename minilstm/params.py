"""Dictionaries of parameters and gradients: name -> array. A gradient has the name of its parameter.

A model keeps its parts in a dictionary `children`; its parameters are theirs, under `part.name`, as PyTorch writes it.
"""

from types import MappingProxyType

import numpy as np

from .arrays import beside, to_device


def uniform(rng, shape, bound, dtype):
    """U(-bound, bound). Drawn in float64 whatever the dtype, so that float32 and float64 models start alike."""
    if not isinstance(rng, np.random.Generator):
        raise TypeError(f"rng: expected a generator, as numpy.random.default_rng(0) is one, got {type(rng).__name__}")
    if np.dtype(dtype) not in (np.float32, np.float64):
        raise TypeError(f"dtype: expected float32 or float64, got {np.dtype(dtype)}")
    return rng.uniform(-bound, bound, shape).astype(dtype)


def prefixed(prefix, arrays):
    """{"weight": a} -> {"prefix.weight": a}"""
    return {f"{prefix}.{name}": a for name, a in arrays.items()}


def collect(children):
    """The parameters of all children under one roof, read-only as a mapping: change the arrays in place."""
    return MappingProxyType(
        {name: a for prefix, child in children.items() for name, a in prefixed(prefix, child.params).items()}
    )


def add_grads(a, b):
    """The sum of two dictionaries of gradients, name by name; a name in only one of them keeps its value."""
    both = {name: a[name] + b[name] for name in a.keys() & b.keys()}
    return {**a, **b, **both}


def count_params(params):
    """The number of numbers."""
    return sum(a.size for a in params.values())


def move(part, device):
    """Bring the parameters of a layer, or of a model and all its parts, to a device ("cpu" or "cuda"). From then on it
    computes there. They are other arrays than before: ask for `params` anew."""
    parts = [*getattr(part, "children", {}).values(), *getattr(part, "layers", ())]
    for child in parts:
        move(child, device)
    if not parts:
        part.params |= {name: to_device(p, device) for name, p in part.params.items()}


def assign(params, arrays, what="parameters"):
    """Copy `arrays`, wherever they are, into `params` in place, after checking that names and shapes agree.

    Raises ValueError that lists *every* mismatch: missing, unexpected, and other shapes.
    """
    problems = [f"{n}: missing" for n in params if n not in arrays]
    problems += [f"{n}: not expected" for n in arrays if n not in params]
    problems += [
        f"{n}: expected shape {tuple(params[n].shape)}, got {tuple(arrays[n].shape)}"
        for n in params
        if n in arrays and tuple(params[n].shape) != tuple(arrays[n].shape)
    ]
    if problems:
        raise ValueError(f"{what} do not fit this model: " + "; ".join(problems))
    for name, p in params.items():
        p[...] = beside(arrays[name], p)


def non_finite(arrays):
    """The names of the arrays that hold a NaN or an infinity."""
    return [name for name, a in arrays.items() if not bool(np.isfinite(a).all())]
