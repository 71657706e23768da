"""`ulmfit lr-find` and `ulmfit plot schedule`, end to end, and what can go wrong with them."""

import json
import resource
import sys

import numpy as np
import pytest
from cli_helpers import is_refused, succeeds, tiny, ulmfit

from ulmfit.lr_find import RangeStep

PNG = b"\x89PNG\r\n\x1a\n"
ALL = ("matplotlib.figure", "matplotlib.backends.backend_agg")


def rows(path):
    return [json.loads(line) for line in path.read_text().splitlines()]


def find(tiny_data, tiny_run, stage, out, *options):
    """The arguments of a range test of this stage, on the tiny data."""
    given = {
        "pretrain": ["--text", tiny_data / "text.txt"],
        "finetune": [tiny_data / "train.csv", "--pretrained", tiny_run / "pretrain"],
        "classify": [tiny_data / "train.csv", "--pretrained", tiny_run / "finetune"],
    }
    return ["lr-find", "--stage", stage, *given[stage], "--out", out, "--steps", 40, *tiny(stage), *options]


# --- lr-find


@pytest.mark.parametrize("stage", ["pretrain", "finetune", "classify"])
def test_a_range_test_leaves_a_picture_numbers_and_a_suggestion(stage, tiny_data, tiny_run, tmp_path):
    answer = succeeds(*find(tiny_data, tiny_run, stage, tmp_path / "lr.png", "--low", "1e-4"))
    assert (tmp_path / "lr.png").read_bytes().startswith(PNG)
    steps = rows(tmp_path / "lr.png.jsonl")
    assert [s["step"] for s in steps] == list(range(len(steps))) and steps[0]["lr"] == pytest.approx(1e-4)
    assert f"{len(steps)} steps of {stage}; " in answer.out
    assert all(p in answer.out for p in ("steepest descent", "a tenth of", "the recipe's rate", "png.jsonl, picture"))
    assert sorted(p.name for p in tmp_path.iterdir()) == ["lr.png", "lr.png.jsonl"]


def test_a_range_test_changes_no_model_and_is_the_same_for_the_same_seed(tiny_data, tiny_run, tmp_path):
    model = tiny_run / "finetune" / "model.safetensors"
    before = model.read_bytes()
    for name, seed in (("a", 1), ("b", 1), ("c", 2)):
        succeeds(*find(tiny_data, tiny_run, "classify", tmp_path / f"{name}.png", "--seed", seed))
    a, b, c = (rows(tmp_path / f"{name}.png.jsonl") for name in "abc")
    assert a == b != c and model.read_bytes() == before


@pytest.mark.parametrize("steps, low, high, said", [
    (12, "1e-5", "1e-4", "12 steps of classify; it never exploded up to 0.0001"),
    (60, "1e-3", "1e30", "the loss exploded at"),
])  # fmt: skip
def test_it_says_how_it_ended(steps, low, high, said, tiny_data, tiny_run, tmp_path):
    options = ["--steps", steps, "--low", low, "--high", high]
    answer = succeeds(*find(tiny_data, tiny_run, "classify", tmp_path / "lr.png", *options))
    assert said in answer.out and (len(rows(tmp_path / "lr.png.jsonl")) < steps) == ("exploded at" in said)


def test_too_few_rates_to_tell_from(tiny_data, tiny_run, tmp_path):
    answer = succeeds(*find(tiny_data, tiny_run, "classify", tmp_path / "lr.png", "--steps", 5))
    assert answer.out.count("       -  ") == 2 and "never fell, after its first steps; " in answer.out
    enough = succeeds(*find(tiny_data, tiny_run, "pretrain", tmp_path / "lr.png", "--low", "1e-4"))
    assert "never fell" not in enough.out and "       -  " not in enough.out


def test_from_random_weights(tiny_data, tiny_run, tmp_path):
    """The classifier's first loss is then about that of guessing among three classes."""
    succeeds(*find(tiny_data, tiny_run, "classify", tmp_path / "lr.png", "--pretrained", "none"))
    assert rows(tmp_path / "lr.png.jsonl")[0]["loss"] == pytest.approx(np.log(3), rel=0.5)


def test_only_the_head_where_the_recipe_says_so(tiny_data, tiny_run, tmp_path):
    """What is below stays as it is, so the loss takes another way."""
    for plan in ("last", "full"):
        out = tmp_path / f"{plan}.png"
        succeeds(*find(tiny_data, tiny_run, "classify", out, "--set", f"classify.unfreezing={plan}"))
    last, full = (rows(tmp_path / f"{plan}.png.jsonl") for plan in ("last", "full"))
    assert last[0]["loss"] == full[0]["loss"] and last[-1]["loss"] != full[-1]["loss"]


def test_without_matplotlib_the_numbers_are_there(tiny_data, tiny_run, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, ALL[0], None)
    answer = succeeds(*find(tiny_data, tiny_run, "finetune", tmp_path / "lr.png"))
    assert "no picture: matplotlib is not installed" in answer.out and "pip install matplotlib" in answer.out
    assert [p.name for p in tmp_path.iterdir()] == ["lr.png.jsonl"] and len(rows(tmp_path / "lr.png.jsonl")) > 10


LR_FIND = {
    "no data": (["lr-find"], ["DATASET: classify needs one"]),
    "stage": (["lr-find", "trec6", "--stage", "test"], ["--stage", "'test'", "finetune"]),
    "both directions": (["lr-find", "trec6", "--direction", "both"], ["--direction", "'both'"]),
    "one step": (["lr-find", "trec6", "--steps", "1"], ["--steps"]),
    "low above high": (["lr-find", "trec6", "--low", "1", "--high", "0.1"], ["--low 1, --high 0.1", "the second one"]),
    "no rate": (["lr-find", "trec6", "--low", "0"], ["--low 0", "above 0"]),
    "endless": (["lr-find", "trec6", "--high", "inf"], ["--high inf"]),
    "no number": (["lr-find", "trec6", "--high", "nan"], ["--high nan"]),
    "constant": (["lr-find", "trec6", "--set", "lr=1"], ["there is no constant 'lr'"]),
    "recipe": (["lr-find", "trec6", "--recipe", "lapto"], ["did you mean 'laptop'?"]),
    "picture": (["lr-find", "trec6", "--out", "lr.pdf"], ["--out lr.pdf: expected the name of a .png file"]),
    "no folder": (["lr-find", "trec6", "--out", "no/lr.png"], ["there is no folder no"]),
    "a folder": (["lr-find", "trec6", "--out", "folder.png"], ["is a folder"]),
    "no place for files": (["lr-find", "trec6", "--out", "/proc/lr.png"], ["--out /proc/lr.png: cannot be written"]),
    "no place for the numbers": (["lr-find", "trec6", "--out", "n.png"], ["--out n.png.jsonl: cannot be written"]),
    "GPU": (["lr-find", "trec6", "--device", "cuda"], ["--device cuda"]),
    "data set": (["lr-find", "trec7"], ["unknown data set 'trec7'"]),
    "text": (["lr-find", "--stage", "pretrain", "--text", "no.txt"], ["no.txt"]),
    "model": (["lr-find", "questions", "--pretrained", "nowhere"], ["nowhere", "no such folder"]),
}


@pytest.mark.parametrize("arguments, parts", LR_FIND.values(), ids=LR_FIND)
def test_a_wrong_range_test(arguments, parts, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for folder in ("folder.png", "n.png.jsonl"):
        (tmp_path / folder).mkdir()
    is_refused(ulmfit(*arguments), *parts)
    assert {p.name for p in tmp_path.iterdir()} == {"folder.png", "n.png.jsonl"}


@pytest.mark.parametrize("stage, source, out", [
    ("classify", "data.png.jsonl", "data.png"), ("pretrain", "text.png", "text.png"),
    ("pretrain", "text.png.jsonl", "text.png"),
])  # fmt: skip
def test_no_source_is_written_over(stage, source, out, tmp_path):
    (tmp_path / source).write_text(said := '{"text": "x", "label": "y"}\n')
    given = [tmp_path / source] if stage == "classify" else ["--text", tmp_path / source]
    is_refused(ulmfit("lr-find", "--stage", stage, *given, "--out", tmp_path / out), "is the file with the texts")
    assert (tmp_path / source).read_text() == said and len(list(tmp_path.iterdir())) == 1


def test_a_table_beside_the_picture_stays(tiny_data, tiny_run, tmp_path):
    """Of the name that the numbers once had."""
    (tmp_path / "lr.jsonl").write_text("precious")
    succeeds(*find(tiny_data, tiny_run, "classify", tmp_path / "lr.png", "--steps", 5))
    assert (tmp_path / "lr.jsonl").read_text() == "precious"


def test_numbers_that_find_no_room_leave_those_that_were_there(tiny_data, tiny_run, tmp_path, monkeypatch):
    """The system refuses to write more than so many bytes of a file."""
    (tmp_path / "lr.png.jsonl").write_text("old")
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)

    def full(*_, **__):
        resource.setrlimit(resource.RLIMIT_FSIZE, (100, hard))
        return [RangeStep(n, 0.1, 2.0, 2.0) for n in range(20)]

    monkeypatch.setattr("ulmfit.commands.rate_answers.range_test", full)
    try:
        answer = ulmfit(*find(tiny_data, tiny_run, "classify", tmp_path / "lr.png"))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    is_refused(answer, f"{tmp_path}/lr.png.jsonl: File too large", code=1)
    assert [p.name for p in tmp_path.iterdir()] == ["lr.png.jsonl"] and (tmp_path / "lr.png.jsonl").read_text() == "old"


def test_a_classifier_is_nothing_to_start_from(tiny_data, tiny_run, tmp_path):
    answer = ulmfit(*find(tiny_data, tiny_run, "classify", tmp_path / "lr.png", "--pretrained", tiny_run))
    is_refused(answer, "expected a language model, got a classifier")


# --- plot schedule


@pytest.mark.parametrize("options", [
    [], ["--recipe", "scripts"], ["--set", "classify.unfreezing=chain_thaw"], ["--set", "pretrain.steps=30"],
    ["--schedule", "all"], ["--schedule", "one_cycle", "--steps", "1", "--lr", "3"],
], ids=" ".join)  # fmt: skip
def test_a_picture_of_the_rates(options, tmp_path):
    answer = succeeds("plot", "schedule", *options, "--out", tmp_path / "rates.png")
    assert answer.out == f"picture in {tmp_path}/rates.png\n"
    assert (tmp_path / "rates.png").read_bytes().startswith(PNG)


def test_what_is_drawn_is_what_was_asked_for(tmp_path, monkeypatch):
    drawn = []
    monkeypatch.setattr("ulmfit.commands.rate_answers.plot_rates", lambda panels, path: drawn.append(panels) or True)
    for options in (["--recipe", "paper"], ["--set", "finetune.lr=0.5"], ["--schedule", "cosine", "--lr", "0.5"]):
        succeeds("plot", "schedule", *options, "--out", tmp_path / "a.png")
    paper, laptop, [cosine] = drawn
    assert [p.title.split(":")[0] for p in paper] == ["pretrain", "finetune", "classify"] and "lstm_2" in paper[1].lines
    assert "lstm_2" not in laptop[1].lines and max(laptop[1].lines["decoder"]) == pytest.approx(0.5, rel=0.01)
    assert len(cosine.xs) == 1000 and cosine.lines["cosine"][0] == 0.5


PLOTS = {
    "nothing": (["plot"], ["Missing command", "ulmfit plot --help"]),
    "unknown": (["plot", "loss"], ["'loss'", "ulmfit plot --help"]),
    "schedule": (["plot", "schedule", "--schedule", "cosin"], ["expected one of constant,", "or all, got 'cosin'"]),
    "both": (["plot", "schedule", "--schedule", "all", "--recipe", "paper"], ["leave out --recipe and --set"]),
    "steps of a recipe": (["plot", "schedule", "--steps", "5"], ["--steps and --lr go with --schedule"]),
    "rate of a recipe": (["plot", "schedule", "--lr", "5"], ["--steps and --lr go with --schedule"]),
    "rate": (["plot", "schedule", "--schedule", "all", "--lr", "nan"], ["--lr: expected a number above 0, got nan"]),
    "no steps": (["plot", "schedule", "--schedule", "all", "--steps", "0"], ["--steps"]),
    "recipe": (["plot", "schedule", "--recipe", "pape"], ["did you mean 'paper'?"]),
    "constant": (["plot", "schedule", "--set", "classify.lr=-1"], ["above 0, got -1.0"]),
    "no place for files": (["plot", "schedule", "--out", "/proc/a.png"], ["--out /proc/a.png: cannot be written"]),
    "picture": (["plot", "schedule", "--out", "rates"], ["--out rates: expected the name of a .png file"]),
}


@pytest.mark.parametrize("arguments, parts", PLOTS.values(), ids=PLOTS)
def test_a_wrong_picture(arguments, parts, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    is_refused(ulmfit(*arguments), *parts)
    assert not any(tmp_path.iterdir())


@pytest.mark.parametrize("module", ALL)
def test_without_matplotlib_there_is_no_picture(module, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, module, None)
    is_refused(ulmfit("plot", "schedule", "--out", tmp_path / "a.png"), "matplotlib is not installed; pip install mat")
    assert not any(tmp_path.iterdir())


def test_the_group_and_its_command_have_help():
    assert "\n  schedule " in succeeds("plot", "--help").out
    answer = succeeds("plot", "schedule", "--help").out
    assert "Usage: ulmfit plot schedule" in answer and all(len(line) <= 80 for line in answer.splitlines())
