"""Layer groups, one learning rate for each (discriminative fine-tuning), and which of them are trained when.

Groups are listed lowest first. Unfreezing needs no flags: a plan says which groups, a range of them, are trained in an
epoch, and the classifier's `backward` walks down just as far as the lowest.
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


def group_lrs(recipe, lr, n_groups) -> list[float]:
    """The rates of all groups under a recipes.Training, the schedule being at `lr`: its multiples if it names any,
    else powers of its factor.

    Multiples are counted from the top, so that a start model may have any depth: the decoder's, the last LSTM layer's
    and so on down stay theirs. Of too many the lowest are left out; where there are more groups than multiples, all
    that are left share the lowest. (The scripts' 1/6, 1/3, 1, 1/2 are 1/3, 1, 1/2 over two LSTM layers.)
    """
    if not recipe.lr_multipliers:
        return discriminative_lrs(lr, n_groups, recipe.lr_factor)
    lowest, n_more = recipe.lr_multipliers[0], n_groups - len(recipe.lr_multipliers)
    return [lr * multiple for multiple in ((lowest,) * n_more + recipe.lr_multipliers)[-n_groups:]]


def lrs_by_name(groups, lrs) -> dict[str, float]:
    """One rate per group -> one rate per parameter name."""
    return {name: lr for group, lr in zip(groups, lrs, strict=True) for name in group.params}


# --- which groups an epoch trains: epoch, n_groups -> range


def gradual(epoch, n_groups):
    """One group more each epoch, from the head down (section 3.3)."""
    return range(max(0, n_groups - 1 - epoch), n_groups)


def two_step(epoch, n_groups):
    """The authors' scripts: the head alone, then the top two groups, then everything."""
    return range(max(0, n_groups - 1 - epoch) if epoch < 2 else 0, n_groups)


def chain_thaw(epoch, n_groups):
    """The head alone, then each group below it alone, from the lowest up, then everything (Felbo et al. 2017)."""
    alone = (epoch - 1) % n_groups  # -1 is the head
    return range(alone, alone + 1) if epoch < n_groups else range(n_groups)


def full(epoch, n_groups):
    """Everything from the start."""
    return range(n_groups)


def last(epoch, n_groups):
    """Only ever the head."""
    return range(n_groups - 1, n_groups)


UNFREEZING = {f.__name__: f for f in (gradual, two_step, chain_thaw, full, last)}


def phase_starts(plan, n_groups) -> list[int]:
    """The epochs in which an unfreezing plan, given by its name, turns to other groups: 0 and what follows. Whatever
    the plan, from epoch n_groups on nothing changes any more."""
    trained = [UNFREEZING[plan](epoch, n_groups) for epoch in range(n_groups + 1)]
    return [n for n in range(n_groups + 1) if n == 0 or trained[n] != trained[n - 1]]
