"""Files that cannot be used, and what fails while a command runs: one clear line that names the place."""

import json
import os
import shutil
import time

import pytest
from bad_files import (
    GIVEN,
    GOOD,
    INPUT_CASES,
    MODEL_CASES,
    RUN,
    TABLE_CASES,
    TEXT_CASES,
    Place,
    change_arrays,
    is_refused_in_both_ways,
)
from cli_helpers import QUESTIONS, TINY, is_refused, predict_json, succeeds, tiny, train, ulmfit, write_table


@pytest.fixture
def place(tmp_path, tiny_data, tiny_run):
    return Place(tmp_path, tiny_data, tiny_run)


@pytest.mark.parametrize("name", TABLE_CASES)
def test_a_table_that_cannot_be_used(name, place):
    if name == "no rights" and os.geteuid() == 0:
        pytest.skip("the superuser may read everything")
    is_refused_in_both_ways(TABLE_CASES[name](place))
    assert not (place.folder / "run").exists()  # the same command with the file mended will do


def test_the_right_encoding_helps(tiny_data, tmp_path):
    (tmp_path / "t.csv").write_bytes(GOOD + b"caf\xe9,HUM\n")
    text = ["--pretrain-text", tiny_data / "text.txt", "--set", "classify.epochs=1"]
    succeeds("run", tmp_path / "t.csv", "--encoding", "latin-1", "--out", tmp_path / "run", *TINY, *text)
    answer = ulmfit("run", tmp_path / "t.csv", "--encoding", "latin-99", "--out", tmp_path / "other")
    is_refused(answer, "unknown encoding 'latin-99'", "--encoding utf-8")


def test_a_label_that_only_the_test_file_has(tiny_data, tmp_path):
    path = write_table(tmp_path / "test.csv", [("who is it ?", "HUM"), ("when is it ?", "NUM")])
    answer = ulmfit("run", tiny_data / "train.csv", "--test-file", path, "--out", tmp_path / "run", *RUN)
    is_refused(answer, f"{path}:3: label 'NUM' is in no train row; expected one of ENTY, HUM, LOC")


@pytest.mark.parametrize("n", [2, 5000])
def test_more_training_rows_than_there_are_or_fewer_than_classes(n, tiny_data, tmp_path):
    answer = ulmfit("run", tiny_data / "train.csv", "--n-train", n, "--out", tmp_path / "run", *RUN)
    is_refused(answer, f"--n-train {n}: expected 3 (one a class) to 39 (all of train)")



@pytest.mark.parametrize("make", TEXT_CASES.values(), ids=TEXT_CASES)
def test_a_text_that_cannot_be_read(make, place):
    is_refused_in_both_ways(make(place))
    assert not (place.folder / "new").exists()


# --- models



@pytest.mark.parametrize("make", MODEL_CASES.values(), ids=MODEL_CASES)
def test_a_model_that_cannot_be_used(make, place):
    is_refused_in_both_ways(make(place))


def test_a_model_that_is_not_there_or_no_folder(tiny_run, tmp_path):
    is_refused(ulmfit("predict", "hi", "--model", tmp_path / "no"), "no: no such folder; expected the folder of a run")
    is_refused(ulmfit("predict", "hi", "--model", tiny_run / "vocab.json"), "vocab.json: is a file; expected the")


def test_a_model_to_start_from_must_be_a_language_model_of_the_right_direction(tiny_run, tiny_data, tmp_path):
    def classify(folder, *options):
        out = ["--out", tmp_path / "run", "--overwrite"]
        return ulmfit("classify", tiny_data / "train.csv", "--pretrained", folder, *out, *tiny("classify"), *options)

    is_refused(classify(tiny_run), "expected a language model, got a classifier", "`ulmfit pretrain`")
    is_refused(classify(tmp_path / "no"), "no: no such folder")
    is_refused(classify(tiny_run / "pretrain", "--direction", "backward"), "and a backward one is needed")


# --- what to predict


def test_there_must_be_a_text(tiny_run):
    is_refused(ulmfit("predict", "--model", tiny_run), "<stdin>: nothing to read")



@pytest.mark.parametrize("make", INPUT_CASES.values(), ids=INPUT_CASES)
def test_what_cannot_be_predicted(make, place):
    is_refused_in_both_ways(make(place))
    assert {name: (place.folder / name).read_bytes() for name in GIVEN} == GIVEN


HARMLESS = {
    "emoji": "😀👩‍🚀", "half a surrogate pair": "who \ud800 is ?", "NUL": "a\0b",
    "control characters": "\x1b[31m\x07", "one letter": "x", "special token": "xxbos xxpad", "no break": "a" * 100_000,
    "punctuation": "?!" * 5000, "right to left": "مرحبا \u202e", "combining": "e" + "\u0301" * 500,
}  # fmt: skip


@pytest.mark.parametrize("text", HARMLESS.values(), ids=HARMLESS)
@pytest.mark.parametrize("format", ["text", "csv", "jsonl"])
def test_any_text_gets_an_answer_and_a_valid_file(text, format, tiny_run, tmp_path):
    out = tmp_path / "answers"
    succeeds("predict", text, "who ?", "--model", tiny_run, "--format", format, "--out", out)
    content = out.read_bytes().decode("utf-8")
    if format == "jsonl":
        first, second = map(json.loads, content.splitlines())
        assert first["text"] == text and second["text"] == "who ?"
        assert sum(first["probabilities"].values()) == pytest.approx(1, abs=1e-5)


def test_a_text_of_100_000_words_is_read_from_its_end(tiny_run):
    words = [f"word{n}" for n in range(100_000)]
    began = time.monotonic()
    (long,) = predict_json(tiny_run, " ".join(words) + " who is it ?")
    assert time.monotonic() - began < 10
    (end,) = predict_json(tiny_run, " ".join(words[-1500:]) + " who is it ?")
    assert long["probabilities"] == pytest.approx(end["probabilities"], abs=1e-5)


def test_training_takes_texts_of_50_000_words_emoji_and_half_surrogate_pairs(tiny_data, tmp_path):
    odd = [" ".join(f"word{n % 500}" for n in range(50_000)), "😀 who", "who \ud800 is", "xxbos"]
    rows = [*QUESTIONS[:12], *((text, "HUM") for text in odd)]
    (tmp_path / "t.jsonl").write_text("".join(json.dumps({"text": t, "label": k}) + "\n" for t, k in rows))
    text = ["--pretrain-text", tiny_data / "text.txt", "--set", "classify.epochs=1"]
    succeeds("run", tmp_path / "t.jsonl", "--test-file", tmp_path / "t.jsonl", "--out", tmp_path / "run", *TINY, *text)
    assert len((tmp_path / "run" / "predictions.jsonl").read_text(encoding="utf-8").splitlines()) == 16
    stages = json.loads((tmp_path / "run" / "metrics.json").read_text())["stages"]
    assert min(stages["finetune"]["tokens"], stages["classify"]["tokens"]) > 50_000


def test_evaluate_names_the_row_with_an_unknown_label(tiny_run, tmp_path):
    path = write_table(tmp_path / "t.tsv", [("who ?", "HUM"), ("when ?", "NUM")])
    answer = ulmfit("evaluate", path, "--model", tiny_run)
    is_refused(answer, f"{path}:3: label 'NUM' is not one of the model's classes (ENTY, HUM, LOC)", "drop the row")
    path.write_text("text\tlabel\nHow many ?\tNUM\nHow often ?\tNUM\n")
    answer = ulmfit("evaluate", path, "--model", tiny_run)
    is_refused(answer, f"{path}:2: label 'NUM' is not one of", "nor is any other; is this the right --model, or ")
    is_refused(ulmfit("evaluate", tmp_path / "no.csv", "--model", tiny_run), "no.csv: no such file")


# --- what fails while it runs


@pytest.mark.parametrize("stage", ["pretrain", "classify"])
def test_a_loss_that_is_not_finite_stops_the_run(stage, tiny_data, tmp_path):
    answer = train(tiny_data, tmp_path / "run", "--set", f"{stage}.lr=1e40", "--set", "pretrain.epochs=5")
    is_refused(answer, f"training stopped: {stage}, step ", "not finite: ", "a lower learning rate", code=1)
    assert "weight" in answer.err  # the tensors are named
    rows = [json.loads(line) for line in (tmp_path / "run" / "log.jsonl").read_text().splitlines()]
    assert all(abs(row["loss"]) < 1e300 for row in rows)
    assert not (tmp_path / "run" / "model.safetensors").exists() and not (tmp_path / "run" / "metrics.json").exists()
    is_refused(ulmfit("predict", "hi", "--model", tmp_path / "run"), "this run is not finished")


def test_a_model_that_diverged_in_its_last_step_gives_no_answers(tiny_run, tmp_path):
    shutil.copytree(tiny_run, tmp_path / "model")
    change_arrays(tmp_path / "model", lambda arrays, _: arrays["head.linear2.bias"].fill(float("nan")))
    is_refused(ulmfit("predict", "hi", "--model", tmp_path / "model"), "not finite", "diverged", code=1)


def test_a_perplexity_without_bounds_is_null_in_the_metrics(tiny_data, tmp_path):
    text = ["--text", tiny_data / "text.txt", "--out", tmp_path / "lm"]
    succeeds("pretrain", *text, *tiny("pretrain"), "--set", "pretrain.lr=1e6")
    metrics = json.loads((tmp_path / "lm" / "metrics.json").read_text(), parse_constant=pytest.fail)
    assert metrics["stages"]["pretrain"]["perplexity"] is None


FAILURES = {
    "internal": (ZeroDivisionError("oops"), ["internal error (ZeroDivisionError: oops)", "please report it with "]),
    "memory": (MemoryError("unable to allocate 9 TiB"), ["out of memory", "9 TiB", "batch_size"]),
    "disk": (OSError(28, "No space left on device"), ["No space left on device"]),
    "file": (OSError(5, "Input/output error", "x.csv"), ["x.csv: Input/output error"]),
}


@pytest.mark.parametrize("error, parts", FAILURES.values(), ids=FAILURES)
def test_a_failure_is_one_line_and_exit_code_1(error, parts, tiny_data, tmp_path, monkeypatch):
    def fail(*_, **__):
        raise error

    monkeypatch.setattr("ulmfit.experiment.pretrain", fail)
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    answer = train(tiny_data, tmp_path / "run")
    is_refused(answer, *parts, code=1)
    logs = list(tmp_path.glob("ulmfit-*.log"))
    assert len(logs) == (isinstance(error, ZeroDivisionError))
    assert all(str(log) in answer.err and "Traceback" in log.read_text() for log in logs)
