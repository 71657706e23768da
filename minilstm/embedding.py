"""Word embeddings: a row of a matrix for every word id."""

import numpy as np

from .arrays import get_array_module
from .checks import check_float_array, check_ids, check_size
from .params import uniform
from .twins import twin


class Embedding:
    """params: weight (V, E), U(-0.1, 0.1) at first (Merity et al. 2017).

    kernel: "auto" takes the compiled twins where there are any, on the CPU to the same bits; "reference" the code here.
    """

    def __init__(self, num_embeddings, embedding_dim, *, rng, dtype=np.float32, kernel="auto"):
        check_size("num_embeddings", num_embeddings), check_size("embedding_dim", embedding_dim)
        self.kernel = kernel
        self.params = {"weight": uniform(rng, (num_embeddings, embedding_dim), 0.1, dtype)}

    def forward(self, ids, row_mask=None):
        """ids, integers of any shape, e.g. (T, B) -> y (T, B, E), cache

        row_mask (V, 1), already scaled, drops whole words: a dropped word is zero wherever it stands. With a weight on
        the device, ids may come from the host: they are checked here, and sent. Raises IndexError for an id outside
        0..V-1; ids that are on the device already are taken as they are, since to look at them would be to wait for it.
        """
        weight = self.params["weight"]
        check_ids("ids", ids, weight.shape[0], "words")
        if row_mask is not None:
            check_float_array("row_mask", row_mask, (weight.shape[0], 1), weight.dtype)
        ids = get_array_module(weight).array(ids)  # a copy: what backward reads is what was checked
        compiled = twin("embedding_forward", self.kernel, weight)
        y = None if compiled is None else compiled(weight, ids, row_mask)
        if y is None:
            y = weight[ids]
            if row_mask is not None:
                y *= row_mask[ids]
        return y, (ids, row_mask)

    def backward(self, dy, cache):
        """dy (T, B, E) -> None (ids have no gradient), grads. A word that stands in many places sums them all."""
        ids, row_mask = cache
        weight = self.params["weight"]
        check_float_array("dy", dy, (*ids.shape, weight.shape[1]), weight.dtype)
        compiled = twin("embedding_backward", self.kernel, dy)
        dweight = None if compiled is None else compiled(dy, ids, row_mask, len(weight))
        if dweight is None:
            if row_mask is not None:
                dy = dy * row_mask[ids]
            xp = get_array_module(weight, dy)
            dweight = xp.zeros_like(weight)
            xp.add.at(dweight, ids, dy)
        return None, {"weight": dweight}
