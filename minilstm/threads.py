"""How many threads a computation uses: one number for the kernels of this package and for NumPy's BLAS.

    minilstm.set_num_threads(4)             from now on, in this process
    with minilstm.num_threads(1): ...       for a while

The threads of two libraries must not work side by side: those of a BLAS go on watching for work after a product, on the
very cores that the others now need, and everything takes several times as long. Where Numba is installed, the compiled
kernels carry all large products: they get the n threads, and the BLAS gets one. Where it is not, the BLAS gets all n.
(On a processor without FMA the kernels refuse to run, and this does not know: set the BLAS's threads yourself.)

Unless something is set, the kernels use the processors of this process, but no more than OMP_NUM_THREADS or
OPENBLAS_NUM_THREADS say, and the BLAS is left as it is: a program that multiplies with NumPy between the layers should
call `set_num_threads()` once, or its layers may take twice as long. `ulmfit` does so when it starts. Where the
compiled kernels run, results do not depend on it: they give the same bits for any number of threads. A BLAS does not:
where NumPy's does the products, another number of threads may round otherwise.
"""

from contextlib import contextmanager

from .twins import registry

_asked = None  # the number that was set, if one was
_blas = None  # threadpoolctl's memory of what the BLAS had before


def set_num_threads(n: int | None = None):
    """Let computations use n threads; None: the default number. Raises ValueError unless n is an integer from 1."""
    global _asked, _blas
    from threadpoolctl import threadpool_limits  # looks through all loaded libraries: not while importing

    kernels = _kernels()
    kernels.set_num_threads(n)
    _forget_blas()
    _asked = get_num_threads()
    compiled = kernels.available()[0].reason is None
    _blas = threadpool_limits(1 if compiled else _asked, user_api="blas")


def get_num_threads() -> int:
    """How many threads a computation may use."""
    return _kernels().get_num_threads()


@contextmanager
def num_threads(n: int | None = None):
    """`set_num_threads(n)`, and at the end what was before: for the whole process, so such blocks of two Python threads
    must not overlap."""
    global _asked
    before = _asked
    set_num_threads(n)
    try:
        yield
    finally:
        if before is not None:
            set_num_threads(before)
        else:
            _asked = None
            _forget_blas()
            _kernels().set_num_threads(None)


def _kernels():
    kernels, reason = registry()
    if kernels is None:
        raise RuntimeError(reason)
    return kernels


def _forget_blas():
    global _blas
    if _blas is not None:
        _blas.restore_original_limits()
        _blas = None
