"""The optimiser that a recipe names, and when NT-ASGD begins to average (Merity et al. 2017, section 3).

NT-ASGD is plain SGD until the validation loss has not improved for some epochs, and from then on keeps the mean of the
weights. Training goes on from the weights; validated, and in the end kept, is their mean.
"""

from contextlib import contextmanager

from minilstm import ASGD, SGD, Adam, triggered


def make_optimizer(recipe):
    """An optimiser for a recipes.Training. A classifier's is always Adam."""
    if recipe.optimizer == "adam":
        return Adam(betas=recipe.betas, weight_decay=recipe.weight_decay)
    return {"sgd": SGD, "nt_asgd": ASGD}[recipe.optimizer](weight_decay=recipe.weight_decay)


def begin_averaging(optimizer, recipe, validations, steps_per_epoch):
    """Tell NT-ASGD when to begin, as soon as that is known: a function of what each epoch's validation has said, so
    that a resumed run finds the same step."""
    if isinstance(optimizer, ASGD):
        epochs = triggered([v["perplexity"] for v in validations], recipe.nonmono)
        if epochs is not None:
            optimizer.t0 = epochs * steps_per_epoch


@contextmanager
def averaged(params, optimizer, *, keep=False):
    """Within, `params` hold the means where there are any; afterwards what they held before, unless `keep`."""
    means = optimizer.state.get("ax", {})
    before = {name: params[name].copy() for name in means}
    _put(params, means)
    try:
        yield
    finally:
        if not keep:
            _put(params, before)


def _put(params, arrays):
    for name, a in arrays.items():
        params[name][...] = a
