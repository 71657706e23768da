"""What is installed: the content of the wheel, one root for all packages, and an import from a bare checkout."""

import shutil
import subprocess
import sys
import zipfile
from importlib.util import find_spec
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
FOLDERS = {"minilstm": "minilstm", "kernels": "minilstm_kernels", "ulmfit": "ulmfit"}     # folder -> import name
HIDDEN = shutil.ignore_patterns("__pycache__", ".*")


def python(*args, cwd, **env):
    return subprocess.run([sys.executable, *args], cwd=cwd, env={"PATH": "", **env}, capture_output=True, text=True)


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    """The wheel, built from a copy, so that the checkout stays clean and no earlier build is picked up."""
    source = tmp_path_factory.mktemp("source")
    for name in ("pyproject.toml", "README.md", "LICENSE", "NOTICE"):
        if (ROOT / name).exists():
            shutil.copy(ROOT / name, source)
    for folder in (*FOLDERS, "tests", "benchmarks"):
        shutil.copytree(ROOT / folder, source / folder, ignore=HIDDEN)
    if find_spec("setuptools") is None:
        pytest.skip("setuptools is not installed: pip install 'minilstm[dev]'")
    done = python("-m", "pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation", "--no-index",
                  "--wheel-dir", source / "dist", source, cwd=source)
    assert done.returncode == 0, done.stdout + done.stderr
    (path,) = (source / "dist").glob("minilstm-*.whl")
    return path


@pytest.fixture(scope="module")
def content(wheel):
    """Names of all files in the wheel."""
    with zipfile.ZipFile(wheel) as archive:
        return set(archive.namelist())


def test_the_wheel_holds_every_file_of_the_packages_and_nothing_else(content):
    expected = set()
    for folder, name in FOLDERS.items():
        for path in (ROOT / folder).rglob("*"):
            parts = path.relative_to(ROOT / folder).parts
            if path.is_file() and not any(p == "__pycache__" or p.startswith(".") for p in parts):
                expected.add("/".join((name, *parts)))
    assert {f for f in content if ".dist-info/" not in f} == expected


def test_no_top_level_name_but_ours(content):
    tops = {f.split("/")[0] for f in content}
    assert {t for t in tops if not t.endswith(".dist-info")} == set(FOLDERS.values())


def test_metadata(wheel, content):
    with zipfile.ZipFile(wheel) as archive:
        read = {f.rpartition("/")[2]: archive.read(f).decode() for f in content if ".dist-info/" in f}
    assert "ulmfit = ulmfit.cli:main" in read["entry_points.txt"]
    assert "License-Expression: MIT AND CC-BY-SA-3.0" in read["METADATA"]
    assert "The minilstm authors" in read["LICENSE"]
    assert "https://creativecommons.org/licenses/by-sa/3.0/" in read["NOTICE"]
    for extra in ("numba", "cuda12", "cuda13", "plot", "sklearn", "dev"):
        assert f"Provides-Extra: {extra}\n" in read["METADATA"]
    core = {line.split()[1].split(">")[0] for line in read["METADATA"].splitlines()
            if line.startswith("Requires-Dist:") and "extra ==" not in line}
    assert core == {"numpy", "safetensors", "threadpoolctl", "pooch", "pyyaml", "rich", "typer"}


def test_the_wheel_works_unpacked(wheel, tmp_path):
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(tmp_path)
    code = "import minilstm, minilstm_kernels as k, ulmfit; print(minilstm.__file__, k.__file__, ulmfit.__file__)"
    code += "; assert k.gpu_choice.TABLE.is_file()"
    done = python("-c", code, cwd=tmp_path, PYTHONPATH=str(tmp_path))
    assert done.returncode == 0, done.stderr
    assert {Path(p).parents[1] for p in done.stdout.split()} == {tmp_path}


def test_everything_imported_here_comes_from_this_checkout():
    """A stale installation beside a checkout would quietly test the wrong code."""
    import minilstm
    import minilstm_kernels
    import ulmfit

    roots = {m.__name__: Path(m.__file__).resolve().parents[1] for m in (minilstm, minilstm_kernels, ulmfit)}
    assert set(roots.values()) == {ROOT}, f"run 'pip install --editable .' again: {roots}"


def test_import_kernels_from_a_checkout():
    done = python("-c", "import kernels; print(kernels.__file__, kernels.available()[0].name)", cwd=ROOT)
    assert done.stdout.split() == [str(ROOT / "kernels" / "__init__.py"), "cpu"], done.stderr
