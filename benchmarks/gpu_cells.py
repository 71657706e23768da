"""What is measured of a whole LSTM, the most important first; and until when each part of the check may go on."""

from itertools import accumulate, product
from typing import NamedTuple

T = 70
# each in the order of importance
PRECISIONS = ("float32", "bfloat16", "float16", "tf32")
NEAR_FLOAT32 = "bfloat16x3"  # beside float32, but not as exact: shown there, and in no ratio
LAYERS = (1, 3)
BATCHES = (64, 16, 1, 32, 128)
HIDDEN = (512, 256, 400, 1150)
MODES = ("full", "inference")

# Of the gates alone, B and H: the large ones, which no cache holds, and then those of a layer
GATES = ((8192, 1152), (8192, 1150), (8192, 512), (1024, 1150), (128, 1150), (64, 512))
LARGE = 4096

# "check" goes first, since nobody is timed whose check failed; what one part leaves over, the later ones have
SHARES = {"check": 0.2, "train": 0.05, "micro": 0.1, "tests": 0.1, "bench": 0.55}


class Cell(NamedTuple):
    """Sizes and precision of an LSTM of some layers whose input is as large as its state, over T steps."""

    layers: int
    B: int
    H: int
    precision: str
    T: int = T

    @property
    def shape(self):
        return {"T": self.T, "B": self.B, "H": self.H, "layers": self.layers}


def cells() -> list[Cell]:
    """All of them, by importance. A cell that is in the middle everywhere comes before one that is first in three
    respects and last in the fourth: whenever the time is up, there is something of everything."""
    axes = (LAYERS, BATCHES, HIDDEN, PRECISIONS)
    ranks = {choice: sum(map(list.index, map(list, axes), choice)) + 2 * (choice[0] != LAYERS[0])
             for choice in product(*axes)}  # fmt: skip
    return [Cell(*choice, T) for choice in sorted(ranks, key=ranks.get)]


def deadlines(parts, seconds, began) -> dict:
    """{part: until when}, one after the other, by their shares of the time that there is"""
    shares = [SHARES[part] for part in parts]
    return {part: began + seconds * s / sum(shares) for part, s in zip(parts, accumulate(shares), strict=True)}
