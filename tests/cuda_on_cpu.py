"""CUDA C++ executed on the CPU: the text of a .cu file, built with g++ and kernels/cuda_on_cpu.h, is launched on NumPy
arrays in the way of `cupy.RawModule`, but with the arguments compared with the parameters of the kernel. Launches can
be recorded, and then replayed by a program of their own under a sanitizer. A stand-in for all of CuPy: cupy_on_cpu.py.
"""

import ctypes
import hashlib
import os
import re
import shutil
import struct
import subprocess
import tempfile
import threading
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest

KERNELS = Path(__file__).resolve().parents[1] / "kernels"
FLAGS = (
    "-std=c++20", f"-I{KERNELS}", "-pthread", "-fPIC", "-w", "-fno-strict-aliasing", "-ffp-contract=off",
    "-fno-extern-tls-init", "-fvisibility=hidden", "-fno-gnu-unique",    # libraries of the same kernels stay apart
)  # fmt: skip
NO_GXX = None if shutil.which("g++") else "g++ is not installed"
needs_gxx = pytest.mark.skipif(NO_GXX is not None, reason=str(NO_GXX))


class RawModule:
    """`cupy.RawModule`: kernels by name, which may be a template with its arguments; compiled once for each text."""

    def __init__(self, *, code, options=(), name_expressions, enable_cooperative_groups=False, flags=("-O1",)):
        self.code, self.names, self.cooperative = code, tuple(name_expressions), enable_cooperative_groups
        self.library = ctypes.CDLL(str(build(with_exports(code, self.names), flags, "-shared")))

    def get_function(self, name):
        return Kernel(self, self.names.index(name))


class Handle(NamedTuple):
    """`cupy.cuda.Function`"""

    ptr: int


non_portable = set()    # handles of kernels that may have clusters of more than 8 blocks


def func_set_attribute(ptr, attribute, value):
    """`cupy_backends.cuda.api.driver.funcSetAttribute`"""
    assert (attribute, value) == (14, 1), "CU_FUNC_ATTRIBUTE_NON_PORTABLE_CLUSTER_SIZE_ALLOWED"
    non_portable.add(Handle(ptr))


pinned = {}    # address -> memory of the host that kernels may write to


def alloc_pinned_memory(size):
    """`cupy.cuda.alloc_pinned_memory`, never freed"""
    memory = ctypes.create_string_buffer(size)
    return pinned.setdefault(ctypes.addressof(memory), memory)


class Addresses(np.ndarray):
    """(n,) addresses of arrays, as an argument; the arrays are recorded with it."""

    arrays: list


def addresses_of(arrays):
    """-> Addresses; 0 for None"""
    table = np.array([0 if a is None else a.ctypes.data for a in arrays], np.uint64).view(Addresses)
    table.arrays = arrays
    return table


class Kernel:
    """`cupy.RawKernel`, called with the sizes of the grid and of a block and the arguments."""

    def __init__(self, module, k):
        self.module, self.name, self.kernel = module, module.names[k], Handle(id(self))
        self.max_dynamic_shared_size_bytes = 48 * 1024    # as long as nobody asks for more
        self.cluster = getattr(module.library, f"cluster_{k}")()    # blocks, that launches have to be multiples of
        self._launch, signature = (getattr(module.library, f"{what}_{k}") for what in ("launch", "signature"))
        self._launch.restype = signature.restype = ctypes.c_char_p
        self._launch.argtypes = [ctypes.c_uint * 6, ctypes.c_size_t, ctypes.c_void_p, ctypes.c_int, ctypes.c_int]
        self.parameters = signature().decode().split(",")[:-1]

    def __call__(self, grid, block, args, *, shared_mem=0, descending=False):
        """Threads run upwards or, with `descending`, downwards between two barriers.

        Raises TypeError for arguments that are not those of the kernel, RuntimeError for what a GPU would not survive.
        """
        if len(args) != len(self.parameters):
            raise TypeError(f"{self.name}: {len(args)} arguments for {len(self.parameters)} parameters")
        if shared_mem > self.max_dynamic_shared_size_bytes:
            raise RuntimeError(f"{self.name}: {shared_mem} bytes of shared memory that were not asked for")
        if self.cluster > 8 and self.kernel not in non_portable:
            raise RuntimeError(f"{self.name}: a cluster of {self.cluster} blocks that was not asked for")
        sizes = (*grid, 1, 1)[:3] + (*block, 1, 1)[:3]
        for i, (letters, a) in enumerate(zip(self.parameters, args, strict=True)):
            complaint = mismatch(letters, a)
            if complaint:
                raise TypeError(f"{self.name}: argument {i}: expected {letters}, got {complaint}")
        if _recorded is not None:
            # an array that is passed twice stays one array, and one of shape () is told from a scalar
            kept = {id(a): np.array(a, ndmin=isinstance(a, np.ndarray)) for a in args}
            pointed = [(i, k, np.array(p)) for i, a in enumerate(args) if isinstance(a, Addresses)
                       for k, p in enumerate(a.arrays) if p is not None]  # fmt: skip
            _recorded.append(Launch(self.module, self.name, sizes, shared_mem, [kept[id(a)] for a in args], pointed))
        bits = [np.array(a.ctypes.data if isinstance(a, np.ndarray) else a) for a in args]
        pointers = (ctypes.c_void_p * len(bits))(*(b.ctypes.data for b in bits))
        cooperative = self.module.cooperative
        error = self._launch((ctypes.c_uint * 6)(*sizes), shared_mem, pointers, cooperative, descending)
        if error:
            raise RuntimeError(f"{self.name}: {error.decode()}")


def mismatch(letters, a):
    """What is wrong with an argument for a parameter that is called `letters` in cuda_on_cpu.h, or None."""
    is_known = isinstance(a, np.uint64) and (a == 0 or int(a) in pinned)
    if not letters.startswith("*"):
        return None if isinstance(a, np.generic) and a.dtype.str[1:] == letters else f"{type(a).__name__}"
    if is_known:
        return None
    if not isinstance(a, np.ndarray):
        return type(a).__name__
    number = letters.split()[-1].lstrip("*").replace("V2", "u2")    # bfloat16, or its bits where NumPy has none
    if a.dtype.str[1:].replace("V2", "u2") != number or not a.flags.c_contiguous:
        return f"{a.dtype} {a.shape}{'' if a.flags.c_contiguous else ', not contiguous'}"
    return None if "const" in letters or a.flags.writeable else "an array that may only be read"


# --- building ---------------------------------------------------------------------------------------------------------


CLUSTER = re.compile(r"(template <[^{};()]*>\s+)?__cluster_dims__\(([^,()]+), 1, 1\)[^{};]*?__global__ void (\w+)\(")


def with_exports(code, names):
    """The text, and for each kernel what launches it; with the size of its clusters, which the text says for NVCC."""
    sizes = {kernel: (header, size) for header, size, kernel in CLUSTER.findall(code)}
    exports = [f"{header}constexpr unsigned clusters_of_{kernel}() {{ return {size}; }}\n"
               for kernel, (header, size) in sizes.items()]  # fmt: skip
    for k, name in enumerate(names):
        cluster = f"(clusters_of_{name}())" if name.split("<")[0] in sizes else "1"
        exports.append(f"ON_CPU_EXPORT({k}, {cluster}, {name})\n")
    return f'#include "cuda_on_cpu.h"\n#line 1 "kernel.cu"\n{code}\n{"".join(exports)}'


def build(text, flags, *link):
    """The file that g++ makes of a text and of what runs it. Raises RuntimeError with its complaints."""
    executor = compiled((KERNELS / "cuda_on_cpu.cc").read_text(encoding="utf-8"), (*flags, "-c"))
    return compiled(text, (*flags, *link), executor)


def compiled(text, flags, *objects):
    """The file that g++ makes of a text; made once for each text, headers, flags and compiler."""
    included = [(KERNELS / name).read_text(encoding="utf-8") for name in re.findall(r'#include "(\w+\.cuh?)"', text)]
    parts = [text, *included, *flags, *FLAGS, *map(str, objects), _surroundings()]
    path = _folder() / hashlib.sha256("\0".join(parts).encode()).hexdigest()[:32]
    if not path.exists():
        made = path.with_suffix(f".{os.getpid()}.{threading.get_ident()}")
        command = ["g++", *FLAGS, *flags, "-x", "c++", "-", "-x", "none", *objects, "-o", made]
        done = subprocess.run(command, input=text, capture_output=True, text=True)
        if done.returncode:
            raise RuntimeError(f"g++ {' '.join(flags)}: {done.stderr}")
        os.replace(made, path)
    return path


@cache
def _surroundings():
    headers = [path.read_text(encoding="utf-8") for path in sorted(KERNELS.glob("cuda_on_cpu*.h"))]
    return "\0".join([subprocess.run(["g++", "-v"], capture_output=True, text=True).stderr, *headers])


@cache
def _folder():
    """Where libraries are kept from run to run; nobody else can put one there."""
    folder = Path(tempfile.gettempdir()) / f"minilstm-cuda-on-cpu-{os.getuid()}"
    folder.mkdir(mode=0o700, exist_ok=True)
    mine = folder.stat().st_uid == os.getuid() and not folder.stat().st_mode & 0o022
    return folder if mine else Path(tempfile.mkdtemp())


# --- recording and replaying ------------------------------------------------------------------------------------------


class Launch(NamedTuple):
    module: RawModule
    name: str
    sizes: tuple
    shared_mem: int
    args: list
    pointed: list = []    # argument, place in it, the array whose address is there


_recorded = None


@contextmanager
def recording():
    """-> a list, to which every launch in this block is added as it was before it ran"""
    global _recorded
    _recorded = launches = []
    try:
        yield launches
    finally:
        _recorded = None


REPLAY = """
#include <stdio.h>
#include <stdlib.h>
#include <algorithm>
#include <vector>
template <class N> N next() { N n; if (fread(&n, sizeof n, 1, stdin) != 1) exit(3); return n; }
int main() {
  for (uint32_t left = next<uint32_t>(); left--;) {
    const uint32_t k = next<uint32_t>(), cooperative = next<uint32_t>(), shared = next<uint32_t>();
    unsigned sizes[6];
    for (auto& size : sizes) size = next<uint32_t>();
    std::vector<void*> memory, arguments;    // each array in a block of its own, of just its size
    std::vector<uint64_t> scalars(next<uint32_t>());
    for (auto& scalar : scalars) {
      const int64_t bytes = next<int64_t>();    // or the number of the argument that is the same array
      if (bytes < 0) memory.push_back(memory[-bytes - 1]);
      else if (memory.push_back(malloc(bytes)); fread(memory.back(), 1, bytes, stdin) != size_t(bytes)) exit(3);
    }
    for (uint32_t pointed = next<uint32_t>(); pointed--;) {    // arrays whose addresses are in an argument
      const uint32_t i = next<uint32_t>(), k = next<uint32_t>();
      const int64_t bytes = next<int64_t>();
      static_cast<void**>(memory[i])[k] = memory.emplace_back(malloc(bytes));
      if (fread(memory.back(), 1, bytes, stdin) != size_t(bytes)) exit(3);
    }
    std::vector<bool> array(scalars.size());
    for (size_t i = 0; i < array.size(); i++)
      arguments.push_back((array[i] = next<uint8_t>()) ? static_cast<void*>(&memory[i]) : memory[i]);
    const char* (*const launches[])(const unsigned (&)[6], size_t, void**, int, int) = {LAUNCHES};
    if (const char* error = launches[k](sizes, shared, arguments.data(), cooperative, 0)) puts(error), exit(4);
    std::sort(memory.begin(), memory.end());
    memory.erase(std::unique(memory.begin(), memory.end()), memory.end());
    for (void* block : memory) free(block);
  }
}
"""


def replay(launches, sanitizer):
    """Launches of one text once more, in a program built with -fsanitize=..., which has each array in a block of memory
    of its own -> the finished process. Skips the test where g++ has no such sanitizer."""
    code, names = launches[0].module.code, launches[0].module.names
    exported = ", ".join(f"launch_{k}" for k in range(len(names)))
    text = with_exports(code, names) + REPLAY.replace("LAUNCHES", exported)
    try:
        program = build(text, ("-O1", "-g", f"-fsanitize={sanitizer}", "-fno-sanitize-recover=undefined"))
    except RuntimeError as error:
        if "cannot find" in str(error):
            pytest.skip(f"g++ comes without -fsanitize={sanitizer}")
        raise
    # ThreadSanitizer's map of the memory has no place for addresses that are too random
    start = ["setarch", "-R"] if shutil.which("setarch") else []
    tape = struct.pack("I", len(launches)) + b"".join(_on_tape(launch, names) for launch in launches)
    return subprocess.run([*start, program], input=tape, capture_output=True, timeout=300)


def _on_tape(launch, names):
    head = (names.index(launch.name), launch.module.cooperative, launch.shared_mem, *launch.sizes, len(launch.args))
    tape, seen = [struct.pack("10I", *head)], {}
    for i, a in enumerate(launch.args):
        if a.ndim and id(a) in seen:
            tape.append(struct.pack("q", -seen[id(a)] - 1))
        else:
            seen[id(a)] = i
            tape.append(struct.pack("q", a.nbytes) + a.tobytes())
    tape.append(struct.pack("I", len(launch.pointed)))
    tape += [struct.pack("IIq", i, k, a.nbytes) + a.tobytes() for i, k, a in launch.pointed]
    return b"".join([*tape, bytes(a.ndim > 0 for a in launch.args)])
