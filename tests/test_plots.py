"""Curves of a run as PNG."""

import json
import math
import resource
import struct
import sys

import numpy as np
import pytest

from ulmfit import plots
from ulmfit.lr_find import RangeStep, Suggestions
from ulmfit.plots import Panel, plot_range, plot_rates, plot_run, smoothed


def size_of_png(path):
    data = path.read_bytes()
    assert data.startswith(b"\x89PNG\r\n\x1a\n") and data.endswith(b"IEND\xaeB`\x82")
    return struct.unpack(">II", data[16:24])


STEPS = [RangeStep(n, 10.0 ** (n / 4 - 3), 5.0 / (n + 1), 5.5 / (n + 1)) for n in range(16)]


@pytest.fixture
def drawn(monkeypatch):
    """The figures that were drawn, to look into."""
    figures, make = [], plots.new_figure
    monkeypatch.setattr(plots, "new_figure", lambda *size: figures.append(make(*size)) or figures[-1])
    return figures


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


def test_steps_that_were_left_out_are_not_drawn(drawn, tmp_path):
    """Their loss may be no number, which smoothing could not stand."""
    write_log(tmp_path, pretrain=4)
    with open(tmp_path / "log.jsonl", "a") as f:
        f.write('{"stage": "pretrain", "step": 4, "loss": null, "lr": 0.01, "skipped": "why"}\n')
    plot_run(tmp_path)
    assert list(drawn[0].axes[0].get_lines()[0].get_xdata()) == [0, 1, 2, 3]


def test_lines_that_are_damaged_are_not_drawn(drawn, tmp_path):
    write_log(tmp_path, pretrain=4)
    with open(tmp_path / "log.jsonl", "ab") as f:
        f.write(b'\xff\xfe\n{"stage": "pretrain", "step": 5}\n{"stage": "pretrain", "st')
    plot_run(tmp_path)
    assert list(drawn[0].axes[0].get_lines()[0].get_xdata()) == [0, 1, 2, 3]


def test_a_stage_of_one_step_is_a_point_and_the_lines_have_names(drawn, tmp_path):
    plot_run(write_log(tmp_path, pretrain=1, classify=50))
    axes = drawn[0].axes  # losses of the two stages, rates of the two
    assert [[line.get_marker() for line in a.lines] for a in axes] == [["o"], ["None"] * 2, ["o"], ["None"]]
    names = [[t.get_text() for t in a.get_legend().get_texts()] for a in axes[:2]]
    assert names == [["loss"], ["each step", "smoothed"]]  # of so few steps no mean is taken


@pytest.mark.parametrize("directions", [["forward"], ["forward", "backward"]])
def test_what_validation_found_is_a_dot_at_the_end_of_every_epoch(directions, drawn, tmp_path):
    names = directions if len(directions) > 1 else [""]
    stages = [(f"{s}-{d}" if d else s) for d in names for s in ("finetune", "classify")]
    rows = [{"stage": s, "step": n, "loss": 3.0, "lr": 0.01, "epoch": (n + 1) / 4} for s in stages for n in range(10)]
    (tmp_path / "log.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    found = {
        "pretrain": None, "finetune": {"perplexity": 20.0, "validations": [math.e**4, None, math.e**3]},
        "classify": {"validation_error": 8.0, "validations": [30.0, 12.0, 8.0]},
    }  # fmt: skip
    metrics = {"stages": {}, "directions": dict.fromkeys(directions, found)}
    (tmp_path / "metrics.json").write_text(json.dumps(metrics))
    plot_run(tmp_path)
    axes, n = drawn[0].axes, len(stages)
    np.testing.assert_allclose(axes[0].lines[-1].get_xydata(), [[3, 4], [9, 3]])  # beside the loss, and like it
    assert [t.get_text() for t in axes[0].get_legend().get_texts()] == ["loss", "validation"]
    errors = axes[2 * n]
    assert errors.lines[0].get_xydata().tolist() == [[3, 30], [7, 12], [9, 8]]
    assert errors.get_ylabel() == "validation error %" and len(axes) == 2 * n + len(directions)


def test_a_real_run_has_curves(tiny_run):
    assert size_of_png(tiny_run / "curves.png") == (3 * 440, 550)


@pytest.mark.parametrize("module", ["matplotlib.figure", "matplotlib.backends.backend_agg"])
def test_without_matplotlib_there_are_none(module, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, module, None)
    assert plot_run(write_log(tmp_path, pretrain=3)) is None
    assert not plot_range(STEPS, Suggestions(None, None), 0.01, "t", tmp_path / "a.png")
    assert not plot_rates([Panel("t", "step", range(2), {"a": [1, 2]})], tmp_path / "b.png")
    assert [p.name for p in tmp_path.iterdir()] == ["log.jsonl"]


@pytest.mark.parametrize("n", [0, 1, 5, 19, 20, 21, 1000])
def test_smoothing_keeps_a_constant_and_the_length(n):
    assert smoothed([2.5] * n) == pytest.approx([2.5] * n)


def test_smoothing_starts_at_the_first_value_and_stays_between_the_least_and_the_largest():
    values = [float(n % 7) for n in range(500)]
    result = smoothed(values)
    assert result[0] == pytest.approx(values[0]) and all(0 <= v <= 6 for v in result)
    assert max(result[250:]) - min(result[250:]) < 3


@pytest.mark.parametrize("found", [Suggestions(0.01, 0.02), Suggestions(None, None)])
@pytest.mark.parametrize("n", [1, 16])
def test_a_range_test_shows_the_losses_over_the_rates_and_what_was_found(found, n, drawn, tmp_path):
    steps = STEPS[:n]
    assert plot_range(steps, found, 0.03, "classify", tmp_path / "lr.png")
    assert size_of_png(tmp_path / "lr.png") == (770, 495)
    [axes] = drawn[0].axes
    losses, mean, *marks = axes.lines
    assert losses.get_xydata().tolist() == [[s.lr, s.loss] for s in steps]
    assert mean.get_xydata().tolist() == [[s.lr, s.smoothed] for s in steps]
    assert [mark.get_xdata()[0] for mark in marks] == [rate for rate in (*found, 0.03) if rate is not None]
    assert {line.get_marker() for line in (losses, mean)} == {"o" if n == 1 else "None"}  # a point is no line
    names = [text.get_text() for text in axes.get_legend().get_texts()]
    assert names[:2] == ["each step", "smoothed"] and names[-1] == "the recipe's rate: 0.03"
    assert axes.get_xscale() == "log" and axes.get_title() == "classify" and "rate" in axes.get_xlabel()


@pytest.mark.parametrize("draw", [
    lambda path: plot_run(write_log(path.parent, pretrain=3)),
    lambda path: plot_range(STEPS, Suggestions(None, None), 0.01, "t", path),
    lambda path: plot_rates([Panel("t", "step", range(2), {"a": [1, 2]})], path),
])  # fmt: skip
def test_a_picture_that_finds_no_room_leaves_the_one_before(draw, tmp_path):
    """The system refuses to write more than so many bytes of a file."""
    (path := tmp_path / "curves.png").write_text("old")
    write_log(tmp_path, pretrain=3)
    before, (soft, hard) = sorted(tmp_path.iterdir()), resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (2000, hard))
    try:
        with pytest.raises(OSError) as e:
            draw(path)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert e.value.filename == str(path) and path.read_text() == "old" and sorted(tmp_path.iterdir()) == before


def test_what_explodes_leaves_the_picture(drawn, tmp_path):
    plot_range([*STEPS, RangeStep(16, 10.0, 1e30, 1e29)], Suggestions(None, None), 0.01, "", tmp_path / "lr.png")
    bottom, top = drawn[0].axes[0].get_ylim()
    assert bottom < min(s.loss for s in STEPS) and 5 < top < 10


def test_rates_have_a_panel_each_with_gaps_where_there_are_none(drawn, tmp_path):
    lines = {"head": [1, 2, 3], "embedding": [np.nan, np.nan, 1]}
    panels = [Panel("classify", "epoch", [0, 0.5, 1], lines), Panel("all", "step", [0, 1], {"a": [1, 2]}, dashed=True)]
    assert plot_rates(panels, tmp_path / "rates.png")
    assert size_of_png(tmp_path / "rates.png") == (990, 770)
    for axes, panel in zip(drawn[0].axes, panels, strict=True):
        assert (axes.get_title(), axes.get_xlabel(), axes.get_ylabel()) == (panel.title, panel.unit, "learning rate")
        assert [text.get_text() for text in axes.get_legend().get_texts()] == list(panel.lines)
        for line, values in zip(axes.lines, panel.lines.values(), strict=True):
            np.testing.assert_array_equal(line.get_ydata(), values)
        assert axes.get_ylim()[0] == 0


def test_lines_upon_each_other_are_dashed_in_different_ways(drawn, tmp_path):
    five = {name: [1, 1] for name in "abcde"}
    plot_rates([Panel("t", "step", [0, 1], five, dashed=True), Panel("t", "step", [0, 1], five)], tmp_path / "a.png")
    dashed, solid = ([line._dash_pattern for line in axes.lines] for axes in drawn[0].axes)
    assert len(set(map(str, dashed))) == 5 and len(set(map(str, solid))) == 1
