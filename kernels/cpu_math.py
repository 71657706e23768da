"""Sigmoid, tanh and exp for compiled code, so that the compiler can vectorise the loops that call them.

The C library's tanh is a call for every element, and a loop with a call in it is not vectorised. These two are straight
lines of arithmetic on one exponential of a negative number: nothing overflows and nothing branches.

    exp(x) = 2**n * exp(r)      n = the integer nearest to x / ln 2, so |r| <= ln(2) / 2
    exp(r) = 1 + r + r**2/2! + ... + r**K/K!    K = 7 (float32), 13 (float64): the rest is below half an ULP
    2**n   = n + bias, shifted into the bits of the exponent

They are wrong by at most 2.4 and 2.6 units in the last place (ULP) of their result in float32, 2.4 and 2.9 in float64,
measured over 7 million numbers; the tests hold them under 3. Results below the smallest normal number may be 0. NaN
stays NaN; infinity and |x| = 1e4 give exactly 0, 1 or -1.
"""

import math

import numpy as np
from numba import types
from numba.extending import overload

from .cpu_compile import inlined


def sigmoid(x):
    """1 / (1 + exp(-x)). Only in compiled code, on a float32 or float64 scalar; see `_activations`."""
    raise TypeError("sigmoid and tanh of cpu_math work in compiled code only")


def tanh(x):
    """The same for tanh(x)."""
    return sigmoid(x)


def exp_of_negative(x):
    """exp(x) for x <= 0."""
    return sigmoid(x)


def _activations(real, integer, mantissa_bits, bias, lowest, ln2_high, ln2_low, K):
    """-> the three for one type. Every constant has that type: beside an int, float32 would become float64."""
    one, two, lowest, per_ln2 = real(1), real(2), real(lowest), real(1 / math.log(2))
    ln2_high, ln2_low = real(ln2_high), real(ln2_low)
    rounder, shift, bias = real(1.5 * 2**mantissa_bits), integer(mantissa_bits), integer(bias)
    highest_term, *terms = (real(1 / math.factorial(k)) for k in range(K, 0, -1))
    terms = tuple(terms)

    @inlined
    def exp_parts(x):
        """x <= 0 -> scale, p with exp(x) = scale * (1 + p); near 0, p keeps the digits that exp(x) - 1 loses"""
        x = lowest if x < lowest else x     # written so that NaN passes
        shifted = x * per_ln2 + rounder     # so large that its last bit counts ones: rounded, and n is in its bits
        n = shifted - rounder
        r = (x - n * ln2_high) - n * ln2_low    # ln 2 in two parts, because n * ln2_high is exact
        p = highest_term
        for term in terms:
            p = p * r + term
        scale = integer((real(shifted).view(integer) + bias) << shift)
        return real(scale.view(real)), p * r

    def sigmoid(x):
        scale, p = exp_parts(-abs(x))
        z = scale + scale * p               # exp(-|x|), in 0..1
        return (one if x >= 0 else z) / (one + z)

    def tanh(x):
        scale, p = exp_parts(-two * abs(x))
        z_minus_1 = scale * p + (scale - one)   # z = exp(-2|x|), and tanh|x| = (1 - z) / (1 + z)
        return math.copysign(-z_minus_1 / (two + z_minus_1), x)

    def exp_of_negative(x):
        scale, p = exp_parts(x)
        return scale + scale * p

    return sigmoid, tanh, exp_of_negative


_BY_TYPE = {
    types.float32: _activations(np.float32, np.int32, 23, 127, -88.0,
                                0.693359375, -2.12194440054690582e-4, K=7),
    types.float64: _activations(np.float64, np.int64, 52, 1023, -709.0,
                                0.69314718036912381649, 1.90821492927058770002e-10, K=13),
}
overload(sigmoid)(lambda x: _BY_TYPE[x][0])
overload(tanh)(lambda x: _BY_TYPE[x][1])
overload(exp_of_negative)(lambda x: _BY_TYPE[x][2])
