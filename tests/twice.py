"""Every test of a file once with the plain code and once with the compiled twins, which leave small arrays alone but
take them here."""

import pytest

import minilstm_kernels
from minilstm import twins


@pytest.fixture(scope="module", autouse=True, params=["plain", "compiled"])
def plain_and_compiled(request):
    with pytest.MonkeyPatch.context() as m:
        if request.param == "plain":
            m.setattr(twins, "registry", lambda: (None, "plain code only"))
        else:
            try:
                minilstm_kernels.load("cpu")
            except ImportError as error:
                pytest.skip(str(error))
            from minilstm_kernels import cpu_passes

            m.setattr(cpu_passes, "SMALL", 0)
        yield
