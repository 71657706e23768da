"""Layer groups, one learning rate for each (discriminative fine-tuning), and which of them are trained when.

Groups are listed lowest first. Unfreezing needs no flags: a plan says how many groups, counted from the top, are
trained in an epoch, and the classifier's `backward` walks down just as far.
"""

from typing import NamedTuple


class LayerGroup(NamedTuple):
    name: str
    params: tuple[str, ...]  # the names of its parameters


def layer_groups(model) -> list[LayerGroup]:
    """A classifier: embedding, LSTM layers, head. A language model: LSTM layers, then the decoder with the embedding
    that is tied to it, as in the authors' scripts: a tied weight stands at both ends and can have but one rate."""
    names = list(model.params)

    def group(name, *starts_or_ends):
        return LayerGroup(name, tuple(n for n in names if n.startswith(starts_or_ends) or n.endswith(starts_or_ends)))

    layers = [group(f"lstm_{n}", f"_l{n}") for n in range(model.size.layers)]
    if model.kind == "language_model":
        return [*layers, group("decoder", "encoder.embedding", "decoder")]
    return [group("embedding", "encoder.embedding"), *layers, group("head", "head")]


def discriminative_lrs(lr, n_groups, factor=2.6) -> list[float]:
    """One rate per group, lowest first: the top group trains at `lr`, each one below at its upper neighbour's rate
    divided by `factor` (Howard & Ruder 2018, section 3.2). factor=1 gives every group the same."""
    return [lr / factor ** (n_groups - 1 - n) for n in range(n_groups)]


def lrs_by_name(groups, lrs) -> dict[str, float]:
    """One rate per group -> one rate per parameter name."""
    return {name: lr for group, lr in zip(groups, lrs, strict=True) for name in group.params}


def gradual(epoch, n_groups):
    """One group more each epoch, from the head down (section 3.3)."""
    return min(epoch + 1, n_groups)


def two_step(epoch, n_groups):
    """The authors' scripts: the head alone, then the top two groups, then everything."""
    return min(epoch + 1, 2) if epoch < 2 else n_groups


def full(epoch, n_groups):
    """Everything from the start."""
    return n_groups


def last(epoch, n_groups):
    """Only ever the head."""
    return 1


UNFREEZING = {f.__name__: f for f in (gradual, two_step, full, last)}
