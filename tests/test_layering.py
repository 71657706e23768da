"""Who may import whom, read from the source with `ast`; and what importing the packages must not load."""

import ast
import resource
import subprocess
import sys
from fnmatch import fnmatch
from pathlib import Path
from typing import NamedTuple

import pytest

ROOT = Path(__file__).resolve().parents[1]
PACKAGES = ("minilstm", "kernels", "ulmfit")
HEAVY = {"cupy", "numba", "sklearn", "scipy", "matplotlib", "torch"}


class Rule(NamedTuple):
    """No file that matches `files` imports `forbidden`, except those that match `allowed`."""

    files: str
    forbidden: tuple[str, ...]
    allowed: tuple[str, ...] = ()


RULES = (
    Rule("*", ("tests", "benchmarks", "kernels", "torch")),
    Rule("*", ("cupy", "cupyx"), ("minilstm/arrays.py", "kernels/*")),
    Rule("*", ("matplotlib",), ("ulmfit/plots.py",)),
    Rule("kernels/*", ("minilstm", "minilstm_kernels", "ulmfit")),
    Rule("minilstm/*", ("ulmfit",)),
    Rule("minilstm/*", ("minilstm_kernels",), ("minilstm/twins.py",)),
)
WITHOUT_ENGINE = (
    "text", "vocab", "files", "tables", "documents", "downloads", "splits", "datasets", "batching", "schedules",
    "metrics", "recipes",
)  # fmt: skip


def imports(path, root):
    """Absolute names of all modules that a file imports anywhere in it, its own package's among them.

    `from .x import y` in ulmfit/train.py counts as ulmfit, ulmfit.x and ulmfit.x.y; inside kernels/ as kernels.x.
    """
    package = path.relative_to(root).parent.parts
    names = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            start = package[: len(package) - node.level + 1] if node.level else ()
            base = ".".join([*start, *([node.module] if node.module else [])])
            names.update([base, *(f"{base}.{alias.name}" for alias in node.names)])
        elif isinstance(node, ast.Call) and _function_name(node.func) in ("import_module", "__import__"):
            names.update(a.value for a in node.args[:1] if isinstance(a, ast.Constant))
    return names


def _function_name(node):
    return getattr(node, "attr", getattr(node, "id", None))


def violations(root):
    """One line for every import that breaks a rule, and for every way from WITHOUT_ENGINE to the engine."""
    files = {f.relative_to(root).as_posix(): f for p in PACKAGES for f in sorted((root / p).rglob("*.py"))}
    imported = {name: imports(path, root) for name, path in files.items()}
    found = []
    for rule in RULES:
        for name in files:
            if fnmatch(name, rule.files) and not any(fnmatch(name, a) for a in rule.allowed):
                tops = {i.split(".")[0] for i in imported[name]} - {name.split("/")[0]}
                found += [f"{name} imports {bad}" for bad in rule.forbidden if bad in tops]
    for stem in WITHOUT_ENGINE:
        way = _way_to_engine(f"ulmfit/{stem}.py", imported)
        found += [" -> ".join([*way, "the engine"])] if way else []
    return found


def _way_to_engine(start, imported):
    """A chain of files of ulmfit from `start` to one that imports the engine, or None."""
    ways = [[start]] if start in imported else []
    seen = {start}
    for way in ways:                # grows while we walk: breadth first
        names = imported[way[-1]]
        if any(n.split(".")[0] in ("minilstm", "minilstm_kernels") for n in names):
            return way
        nearby = {n.replace(".", "/") + ".py" for n in names} & imported.keys() - seen
        seen |= nearby
        ways += [[*way, n] for n in sorted(nearby)]
    return None


def test_nobody_imports_what_is_not_below():
    assert violations(ROOT) == []


@pytest.mark.parametrize(
    "file, line, complaint",
    [
        ("kernels/cpu_new.py", "from minilstm import gates", "kernels/cpu_new.py imports minilstm"),
        ("kernels/cpu_new.py", "import minilstm_kernels", "kernels/cpu_new.py imports minilstm_kernels"),
        ("minilstm/lstm.py", "import ulmfit.text", "minilstm/lstm.py imports ulmfit"),
        ("minilstm/lstm.py", "def f():\n    import cupy as cp", "minilstm/lstm.py imports cupy"),
        ("minilstm/lstm.py", "x = importlib.import_module('cupy')", "minilstm/lstm.py imports cupy"),
        ("minilstm/lstm.py", "import minilstm_kernels as k", "minilstm/lstm.py imports minilstm_kernels"),
        ("ulmfit/train.py", "from benchmarks import harness", "ulmfit/train.py imports benchmarks"),
        ("ulmfit/train.py", "import kernels", "ulmfit/train.py imports kernels"),
        ("ulmfit/train.py", "try:\n    import torch.nn\nexcept ImportError: pass", "ulmfit/train.py imports torch"),
        ("ulmfit/report.py", "from matplotlib import pyplot", "ulmfit/report.py imports matplotlib"),
        ("ulmfit/vocab.py", "from minilstm.embedding import Embedding", "ulmfit/vocab.py -> the engine"),
        ("ulmfit/metrics.py", "from . import uses_engine", "ulmfit/metrics.py -> ulmfit/uses_engine.py -> the engine"),
    ],
)
def test_a_planted_violation_is_found(tmp_path, file, line, complaint):
    harmless = {
        "minilstm/__init__.py": "from .arrays import to_numpy\n",
        "minilstm/arrays.py": "import cupy\n",
        "minilstm/twins.py": "import minilstm_kernels\n",
        "kernels/__init__.py": "from .cpu_gates import forward\n",
        "kernels/cupy_gates.py": "import cupy, numba\n",
        "ulmfit/plots.py": "import matplotlib.pyplot\n",
        "ulmfit/uses_engine.py": "import minilstm\n",
        "ulmfit/text.py": "import re\nfrom .vocab import Vocab\n",
    }
    for name, source in harmless.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(source)
    assert violations(tmp_path) == []
    (tmp_path / file).write_text(line)
    assert complaint in violations(tmp_path)


def run_python(*args):
    return subprocess.run([sys.executable, *args], cwd=ROOT, capture_output=True, text=True, timeout=120)


@pytest.mark.parametrize("statement", [
    "import minilstm",
    "import minilstm_kernels; minilstm_kernels.available()",
    "import minilstm; minilstm.available_kernels()",
    "import ulmfit",
    "import ulmfit.cli",
])
def test_importing_loads_no_heavy_optional_library(statement):
    done = run_python("-c", f"import sys; {statement}; print(*sys.modules.keys() & {HEAVY!r})")
    assert (done.returncode, done.stdout.strip()) == (0, ""), done.stderr


def test_help_loads_no_heavy_optional_library():
    done = run_python("-X", "importtime", "-m", "ulmfit", "--help")
    assert done.returncode == 0, done.stderr
    loaded = {line.rpartition("|")[2].strip().split(".")[0] for line in done.stderr.splitlines()}
    assert "ulmfit" in loaded
    assert loaded.isdisjoint(HEAVY)


def test_help_answers_within_half_a_second():
    """Of the processor's time: by the clock it depends on who else is at work."""
    best = float("inf")
    for _ in range(3):
        start = processor_seconds_of_children()
        done = run_python("-m", "ulmfit", "--help")
        best = min(best, processor_seconds_of_children() - start)
        assert done.returncode == 0, done.stderr
    assert best < 0.5, f"best of three: {best:.2f} s"


def processor_seconds_of_children():
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime
