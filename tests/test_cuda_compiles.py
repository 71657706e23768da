"""Every .cu file, compiled for the GPUs it is meant for by nvcc and by NVRTC, which is what CuPy uses; neither needs a
GPU. No kernel may spill registers to memory, nor take more of them, or of shared memory, than cuda_budget.toml says."""

import ctypes
import os
import re
import shutil
import subprocess
import tomllib
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import NamedTuple

import pytest

ROOT = Path(__file__).resolve().parents[1]
BUDGET = tomllib.loads((ROOT / "tests" / "cuda_budget.toml").read_text())
FILES = sorted(path.name for path in (ROOT / "kernels").glob("*.cu"))
GPUS = (75, 80, 86, 89, 90, 100)    # Turing, A100, GeForce 30, GeForce 40 and L4, H100 and H200, B200
OPTIONS = ("-std=c++17", "-ftz=true")    # as CuPy compiles
OF_NVRTC = ("--device-as-default-execution-space",)
NVCC = shutil.which("nvcc")


class Use(NamedTuple):
    """What one kernel takes on one GPU, as ptxas says: bytes, and registers of a thread."""

    kernel: str
    gpu: int
    registers: int
    shared: int
    spilled: int


def uses(log, name_of):
    """What `ptxas -v` has written; name_of: a kernel's name in the object file -> as in C++"""
    found = []
    for entry in re.split(r"Compiling entry function ", log)[1:]:
        symbol, gpu = re.match(r"'(\w+)' for 'sm_(\d+)a?'", entry).groups()
        spilled = sum(int(n) for n in re.findall(r"(\d+) bytes (?:stack frame|spill stores|spill loads)", entry))
        registers, rest = re.search(r"Used (\d+) registers(.*)", entry).groups()
        shared = re.search(r"(\d+) bytes smem", rest)
        found.append(Use(name_of(symbol), int(gpu), int(registers), int(shared[1]) if shared else 0, spilled))
    return found


def gpus_of(file):
    return BUDGET["gpus"].get(file, GPUS)


STEP = 8    # registers that another version of the compiler may take beyond the budget: 13.5 takes 2 more than 13.0


def check(file, found, gpus):
    """Every kernel of the file on every GPU, within its budget."""
    budget = BUDGET[file]
    assert {(use.kernel, use.gpu) for use in found} == {(kernel, gpu) for kernel in budget for gpu in gpus}
    too_much = [
        use for use in found
        if use.spilled
        or use.registers > budget[use.kernel]["registers"] + STEP
        or use.shared > budget[use.kernel]["shared"]
    ]  # fmt: skip
    assert not too_much, "\n".join(f"{use}, allowed: {budget[use.kernel]}" for use in too_much)


def compile_for_all(compile_with, file, gpus, *more):
    """One GPU on each processor, several at a time."""
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        found = list(pool.map(lambda gpu: compile_with(file, gpu, *more), gpus))
    check(file, [use for some in found for use in some], gpus)


# --- the two compilers ------------------------------------------------------------------------------------------------


def run(*command, **options):
    done = subprocess.run(command, capture_output=True, text=True, **options)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


@pytest.mark.skipif(NVCC is None, reason="nvcc is not installed")
@pytest.mark.parametrize("file", FILES)
def test_nvcc_compiles_it_within_its_budget(file, tmp_path):
    known = run(NVCC, "--list-gpu-code").split()
    compile_for_all(compile_with_nvcc, file, [gpu for gpu in gpus_of(file) if f"sm_{gpu}" in known], tmp_path)


def compile_with_nvcc(file, gpu, folder):
    """-> what its kernels take"""
    # a host program that names a kernel is what makes nvcc compile a template
    wanted = ", ".join(f"(void*)({kernel})" for kernel in BUDGET[file])
    source = folder / f"{gpu}.cu"
    source.write_text(f'#include "{ROOT / "kernels" / file}"\nvoid* wanted[] = {{{wanted}}};\n')
    target = f"-gencode=arch=compute_{gpu},code=sm_{gpu}"
    out = source.with_suffix(".fatbin")
    log = run(NVCC, *OPTIONS, "-Xptxas=-v", "-Werror=all-warnings", "-fatbin", target, source, "-o", out)
    symbols = sorted(set(re.findall(r"entry function '(\w+)'", log)))
    readable = run("c++filt", input="\n".join(symbols)).splitlines()
    names = {s: re.match(r"(?:void )?(.*?)\(", name)[1] for s, name in zip(symbols, readable, strict=True)}
    return uses(log, names.get)


@cache
def nvrtc():
    """-> the library and the folders of CUDA's headers, from the packages nvidia-cuda-nvrtc and nvidia-cuda-runtime"""
    spec = find_spec("nvidia")
    homes = [home for place in (spec.submodule_search_locations if spec else []) for home in Path(place).iterdir()]
    libraries = [path for home in homes for path in sorted(home.glob("lib/libnvrtc*.so.*")) if "alt" not in path.name]
    if not libraries:
        return None, []
    folders = [home / "include" for home in homes if (home / "include").is_dir()]
    *_, library = (ctypes.CDLL(str(path)) for path in libraries)    # libnvrtc-builtins comes first, and is found by it
    return library, [*folders, *(f / "cccl" for f in folders if (f / "cccl").is_dir())]


@pytest.mark.skipif(nvrtc()[0] is None, reason="pip install nvidia-cuda-nvrtc nvidia-cuda-runtime")
@pytest.mark.parametrize("file", FILES)
def test_nvrtc_compiles_it_within_its_budget(file):
    library, _ = nvrtc()
    n = ctypes.c_int()
    assert library.nvrtcGetNumSupportedArchs(ctypes.byref(n)) == 0
    known = (ctypes.c_int * n.value)()
    assert library.nvrtcGetSupportedArchs(known) == 0
    gpus = [gpu for gpu in gpus_of(file) if gpu in list(known)]
    compile_for_all(compile_with_nvrtc, file, gpus)


def compile_with_nvrtc(file, gpu):
    """-> what its kernels take, in the way in which CuPy's RawModule has it compiled"""
    library, folders = nvrtc()
    program, text = ctypes.c_void_p(), (ROOT / "kernels" / file).read_bytes()
    assert library.nvrtcCreateProgram(ctypes.byref(program), text, file.encode(), 0, None, None) == 0
    for kernel in BUDGET[file]:
        assert library.nvrtcAddNameExpression(program, kernel.encode()) == 0
    includes = [f"-I{folder}" for folder in (ROOT / "kernels", *folders)]
    options = [f"-arch=sm_{gpu}", "--ptxas-options=-v", *OPTIONS, *OF_NVRTC, *includes]
    options = [option.encode() for option in options]
    status = library.nvrtcCompileProgram(program, len(options), (ctypes.c_char_p * len(options))(*options))
    size = ctypes.c_size_t()
    library.nvrtcGetProgramLogSize(program, ctypes.byref(size))
    log = ctypes.create_string_buffer(size.value)
    library.nvrtcGetProgramLog(program, log)
    log = log.value.decode()
    assert status == 0, log
    names, symbol = {}, ctypes.c_char_p()
    for kernel in BUDGET[file]:
        assert library.nvrtcGetLoweredName(program, kernel.encode(), ctypes.byref(symbol)) == 0
        names[symbol.value.decode()] = kernel
    library.nvrtcDestroyProgram(ctypes.byref(program))
    return uses(log, names.get)


# --- the budget -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("file", FILES)
def test_every_kernel_of_every_file_has_a_budget(file):
    text = (ROOT / "kernels" / file).read_text()
    assert {kernel.split("<")[0] for kernel in BUDGET[file]} == set(re.findall(r"__global__ void (\w+)\(", text))
    assert set(gpus_of(file)) <= set(GPUS)


LOG = """ptxas info    : 0 bytes gmem
ptxas info    : Compiling entry function 'spills' for 'sm_90'
ptxas info    : Function properties for spills
    16 bytes stack frame, 8 bytes spill stores, 12 bytes spill loads
ptxas info    : Used 255 registers, used 1 barriers, 1024 bytes smem, 440 bytes cmem[0]
ptxas info    : Compiling entry function 'modest' for 'sm_100a'
    0 bytes stack frame, 0 bytes spill stores, 0 bytes spill loads
ptxas info    : Used 8 registers
"""


def test_what_ptxas_says_is_understood_and_what_is_too_much_is_shown(monkeypatch):
    spills, modest = uses(LOG, str.upper)
    assert spills == ("SPILLS", 90, 255, 1024, 36) and modest == ("MODEST", 100, 8, 0, 0)
    monkeypatch.setitem(BUDGET, "f.cu", {"SPILLS": {"registers": 255, "shared": 1024}})
    check("f.cu", [spills._replace(spilled=0)], [90])
    for worse in ({"spilled": 1}, {"spilled": 0, "registers": 255 + STEP + 1}, {"spilled": 0, "shared": 1025}):
        with pytest.raises(AssertionError, match="kernel='SPILLS', gpu=90.*allowed: {'registers': 255"):
            check("f.cu", [spills._replace(**worse)], [90])
    with pytest.raises(AssertionError):    # one that was not compiled
        check("f.cu", [], [90])
