"""Dropout masks in one pass: Philox4x64-10 for many blocks side by side, compared and written while in the cache.

The plain version, minilstm/dropout.py, says which bits a mask has; NumPy's generator draws them word by word into an
array that is then read again to compare. The ten rounds of a block hang on each other, so one block after the other
leaves the processor waiting for its multiplier. But blocks are counted, not drawn from a stream: BLOCKS of them go
through a round together, a loop that the compiler turns into vector instructions (2.9 nanoseconds a block on a Zen 5
core with AVX-512, where one by one took 9), and every member begins where it likes.
"""

import numpy as np

from .cpu_compile import compiled, inlined
from .cpu_memory import empty
from .cpu_passes import BLOCK, own_range, threads_for
from .cpu_team import run

BLOCKS = 64                 # that go through the rounds together
HALF, LOWER_HALF = np.uint64(32), np.uint64(2**32 - 1)


def _factor(number):
    """-> the number, its lower half, its upper half"""
    return np.uint64(number), np.uint64(number & 0xFFFFFFFF), np.uint64(number >> 32)


# Salmon et al. 2011: the multipliers, and what is added to the key after each of the rounds.
ROUNDS = 10
FACTOR_0, FACTOR_1 = _factor(0xD2E7470EE14C6C93), _factor(0xCA5A826395121157)
WEYL_0, WEYL_1 = np.uint64(0x9E3779B97F4A7C15), np.uint64(0xBB67AE8584CAA73B)


def dropout_mask(shape, dtype, key, step, threshold, scale):
    """key (2,) and step, uint64 -> mask of this shape: 0 where a number is below the threshold, else the scale; or
    None where dtype is not float32 or float64"""
    dtype = np.dtype(dtype)
    if dtype not in (np.float32, np.float64):
        return None
    mask = empty(shape, dtype)
    run(_draw, key, step, threshold, dtype.type(scale), mask.reshape(-1), at_most=threads_for(2 * mask.size))
    return mask


@compiled
def _draw(team, key, step, threshold, scale, mask):
    words, state, nothing = np.empty(BLOCK // 4, np.uint64), np.empty((4, BLOCKS), np.uint64), mask.dtype.type(0)
    numbers = words.view(np.uint16)     # four a word, the lowest first, as the processors that we know store them
    first, last = own_range(len(mask), team)
    for start in range(first, last, BLOCK):
        out = mask[start : min(start + BLOCK, last)]
        for at in range(0, (len(out) + 15) // 16, BLOCKS):
            philox(start // 16 + at + 1, step, key, state)
            for block in range(BLOCKS):
                for word in range(4):
                    words[4 * (at + block) + word] = state[word, block]
        for i in range(len(out)):
            out[i] = nothing if numbers[i] < threshold else scale


@inlined
def philox(block, step, key, state):
    """state (4, BLOCKS) = the four words of the counters (block, 0, step, 0), (block + 1, 0, step, 0), ..."""
    for n in range(BLOCKS):
        state[0, n], state[1, n], state[2, n], state[3, n] = np.uint64(block + n), np.uint64(0), step, np.uint64(0)
    key_0, key_1 = key
    for _ in range(ROUNDS):
        for n in range(BLOCKS):
            a, b, c, d = state[0, n], state[1, n], state[2, n], state[3, n]
            (upper_a, lower_a), (upper_c, lower_c) = product(a, FACTOR_0), product(c, FACTOR_1)
            state[0, n], state[1, n] = upper_c ^ b ^ key_0, lower_c
            state[2, n], state[3, n] = upper_a ^ d ^ key_1, lower_a
        key_0, key_1 = key_0 + WEYL_0, key_1 + WEYL_1


@inlined
def product(x, factor):
    """-> the upper and the lower 64 bits of x * factor. The upper ones by four products of 32 bits each, as one does
    it on paper, because no vector instruction has them."""
    whole, low, high = factor
    x_low, x_high = x & LOWER_HALF, x >> HALF
    middle = x_low * high + (x_low * low >> HALF)
    carried = x_high * low + (middle & LOWER_HALF) >> HALF
    return x_high * high + (middle >> HALF) + carried, x * whole
