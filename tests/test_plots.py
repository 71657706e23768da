"""Curves of a run as PNG."""

import json
import struct
import sys

import pytest

from ulmfit.plots import plot_run, smoothed


def size_of_png(path):
    data = path.read_bytes()
    assert data.startswith(b"\x89PNG\r\n\x1a\n") and data.endswith(b"IEND\xaeB`\x82")
    return struct.unpack(">II", data[16:24])


def write_log(folder, **steps):
    rows = [{"stage": s, "step": n, "loss": 3 / (n + 1), "lr": 0.01} for s, k in steps.items() for n in range(k)]
    (folder / "log.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return folder


@pytest.mark.parametrize("steps", [
    {"pretrain": 50, "finetune": 20, "classify": 30}, {"pretrain": 1}, {},
    {f"{stage}-{d}": 5 for stage in ("pretrain", "classify") for d in ("forward", "backward")},
], ids=["three stages", "one step", "nothing", "both directions"])  # fmt: skip
def test_curves_have_a_column_for_every_stage(steps, tmp_path):
    path = plot_run(write_log(tmp_path, **steps))
    assert path == tmp_path / "curves.png"
    assert size_of_png(path) == (440 * max(1, len(steps)), 550)
    assert 3_000 < path.stat().st_size < 500_000


def test_a_real_run_has_curves(tiny_run):
    assert size_of_png(tiny_run / "curves.png") == (3 * 440, 550)


@pytest.mark.parametrize("module", ["matplotlib.figure", "matplotlib.backends.backend_agg"])
def test_without_matplotlib_there_are_none(module, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, module, None)
    assert plot_run(write_log(tmp_path, pretrain=3)) is None
    assert [p.name for p in tmp_path.iterdir()] == ["log.jsonl"]


@pytest.mark.parametrize("n", [0, 1, 5, 19, 20, 21, 1000])
def test_smoothing_keeps_a_constant_and_the_length(n):
    assert smoothed([2.5] * n) == pytest.approx([2.5] * n)


def test_smoothing_starts_at_the_first_value_and_stays_between_the_least_and_the_largest():
    values = [float(n % 7) for n in range(500)]
    result = smoothed(values)
    assert result[0] == pytest.approx(values[0]) and all(0 <= v <= 6 for v in result)
    assert max(result[250:]) - min(result[250:]) < 3
