"""Files that cannot be used, and what fails while a command runs: one clear line that names the place."""

import json
import os
import shutil
import time

import pytest
from cli_helpers import QUESTIONS, TINY, is_refused, predict_json, succeeds, tiny, train, ulmfit, write_table
from safetensors.numpy import save_file

from minilstm import load_arrays, save_arrays

RUN = tiny("finetune", "classify")
HEADER = b"text,label\n"
GOOD = HEADER + b"".join(f"{text},{label}\n".encode() for text, label in QUESTIONS[:12])
TABLES = {
    "empty": ("t.csv", b"", ["t.csv: the file is empty"]),
    "header only": ("t.csv", HEADER, ["t.csv: found a header but no rows"]),
    "ragged": ("t.csv", GOOD + b"a,b,c\n", ["t.csv:14: found 3 cells, expected 2", "double quotes"]),
    "open quote": ("t.csv", GOOD + b'"abc,HUM\n', ["t.csv:14: not a well-formed csv row", "close every quoted"]),
    "no text column": ("t.csv", b"txt,label\nx,a\n", ["no column 'text'", "txt, label", "--text-column txt?"]),
    "no label column": ("t.csv", b"text,Label\nx,a\n", ["no column 'label'", "did you mean --label-column Label?"]),
    "column twice": ("t.csv", b"text,text\nx,a\n", ["t.csv:1: column 'text' occurs twice"]),
    "no text in a row": ("t.csv", GOOD + b",HUM\n", ["t.csv:14: the text in column 'text' is missing"]),
    "blanks for a text": ("t.csv", GOOD + b"  ,HUM\n", ["t.csv:14: the text in column 'text' is missing"]),
    "NaN for a text": ("t.csv", GOOD + b"NaN,HUM\n", ["t.csv:14: the text in column 'text' is missing ('NaN')"]),
    "null for a text": ("t.jsonl", b'{"text": null, "label": "a"}\n', ["t.jsonl:1: the text", "missing (None)"]),
    "number for a text": ("t.jsonl", b'{"text": 5, "label": "a"}\n', ["t.jsonl:1: the text", "of type int (5)"]),
    "null for a label": ("t.jsonl", b'{"text": "x", "label": null}\n', ["t.jsonl:1: the label", "missing (None)"]),
    "None for a label": ("t.csv", GOOD + b"who ?,None\n", ["t.csv:14: the label in column 'label' is missing"]),
    "no label": ("t.csv", GOOD + b"who ?,\n", ["t.csv:14: the label in column 'label' is missing"]),
    "list for a label": ("t.jsonl", b'{"text": "x", "label": ["a"]}\n', ["t.jsonl:1: the label", "of type list"]),
    "no JSON": ("t.jsonl", b'{"text": "x"\n', ["t.jsonl:1: not valid JSON"]),
    "no object": ("t.jsonl", b'["x"]\n', ["t.jsonl:1: expected a JSON object"]),
    "one class": ("t.csv", HEADER + b"x,a\ny,a\nz,a\n", ["every row has the label 'a'", "at least two classes"]),
    "numbers for labels": ("t.csv", HEADER + b"".join(b"x,%d.5\n" % n for n in range(9)), [
        "t.csv: 9 rows have 9 different labels: is this the label column?", "--label-column"]),
    "semicolons": ("t.csv", b"text;label\nx;a\n", ["t.csv:1: the header is parted by ';'"]),
    "too few rows": ("t.csv", HEADER + b"x,a\ny,b\n", ["2 rows are too few"]),
    "latin-1": ("t.csv", GOOD + b"caf\xe9,HUM\n", ["t.csv:14: byte 0xE9", "try --encoding latin-1"]),
    "NUL": ("t.csv", GOOD + b"a\0b,HUM\n", ["t.csv:14: found a NUL byte", "--encoding utf-16"]),
    "another ending": ("t.xlsx", b"PK", ["t.xlsx: expected a file ending in .csv"]),
    "plain text": ("t.txt", b"hello\n", ["t.txt: expected a file ending in .csv"]),
    "a folder": ("t.csv/", None, ["t.csv: this is a folder, expected a file"]),
    "missing": ("t.csv", None, ["t.csv: no such file"]),
    "no rights": ("t.csv", "locked", ["t.csv: cannot be read"]),
}


@pytest.mark.parametrize("name, content, parts", TABLES.values(), ids=TABLES)
def test_a_table_that_cannot_be_used(name, content, parts, tmp_path):
    path = tmp_path / name
    if content == "locked" and os.geteuid() == 0:
        pytest.skip("the superuser may read everything")
    if content is None and name.endswith("/"):
        path.mkdir()
    elif content is not None:
        path.write_bytes(GOOD if content == "locked" else content)
        path.chmod(0o000 if content == "locked" else 0o600)
    is_refused(ulmfit("run", path, "--out", tmp_path / "run", *RUN), path, *parts)
    assert not (tmp_path / "run").exists()  # the same command with the file mended will do


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
    is_refused(answer, f"{n} training texts: there can be 3 (one a class) to 39 (all of train); give another --n-train")


TEXTS = {
    "empty": (b"", ["no documents found"]),
    "blank": (b"\n \n", ["no documents found"]),
    "shorter than a window": (
        b"One two three .", ["t.txt: 6 tokens to train on, and one window of pretrain.bptt needs 71; give a longer"]),
    "binary": (b"\0\1\2", ["NUL byte", "plain text file"]),
    "latin-1": (b"caf\xe9", ["byte 0xE9", "iconv -f latin-1 -t utf-8"]),
    "damaged gzip": (b"\x1f\x8b\x08\x00broken", ["damaged or incomplete"]),
    "missing": (None, ["no such file"]),
}  # fmt: skip


@pytest.mark.parametrize("content, parts", TEXTS.values(), ids=TEXTS)
def test_a_text_that_cannot_be_read(content, parts, tmp_path):
    path = tmp_path / "t.txt"
    if content is not None:
        path.write_bytes(content)
    is_refused(ulmfit("pretrain", "--text", path, "--out", tmp_path / "new" / "lm", *tiny("pretrain")), path, *parts)
    assert not (tmp_path / "new").exists()


# --- models


def change_arrays(folder, change=lambda arrays, about: None):
    """Load a model's file, let `change` do something to its arrays and its description, and write it back."""
    arrays, metadata = load_arrays(folder / "model.safetensors")
    about = json.loads(metadata["minilstm"])
    change(arrays, about)
    save_arrays(folder / "model.safetensors", arrays, {"minilstm": json.dumps(about)})


def foreign(folder):
    arrays, _ = load_arrays(folder / "model.safetensors")
    save_file(arrays, folder / "model.safetensors")


def flip_a_bit(folder):
    path = folder / "model.safetensors"
    data = bytearray(path.read_bytes())
    data[-9] ^= 1
    path.write_bytes(data)


DAMAGE = {
    "empty folder": (lambda d: [p.unlink() for p in d.glob("*.*")], ["no model.safetensors in it"]),
    "empty file": (lambda d: (d / "model.safetensors").write_bytes(b""), ["model.safetensors", "restore the file"]),
    "cut off": (lambda d: os.truncate(d / "model.safetensors", 500), ["model.safetensors", "restore the file"]),
    "one bit": (flip_a_bit, ["model.safetensors", "the checksum does not fit", "restore the file"]),
    "foreign": (foreign, ["do not describe a model", "`ulmfit` has written"]),
    "not safetensors": (lambda d: (d / "model.safetensors").write_text("hello " * 99), ["not a safetensors file"]),
    "language model": (
        lambda d: shutil.copytree(d / "finetune", d, dirs_exist_ok=True),
        ["expected a classifier, got a language model", "`ulmfit run`"]),
    "other sizes": (
        lambda d: change_arrays(d, lambda _, about: about["size"].update(hidden=9, head=7)),
        ["head.linear1.weight: expected shape (7, 24), got (6, 24)", "head.linear2.weight: ", "head.bn2.running_var"]),
    "missing array": (
        lambda d: change_arrays(d, lambda a, _: [a.pop("head.linear1.bias"), a.pop("head.bn1.weight")]),
        ["head.linear1.bias: missing", "head.bn1.weight: missing"]),
    "no direction": (lambda d: change_arrays(d, lambda _, about: about.update(direction="up")), ["direction 'up'"]),
    "no classes": (lambda d: change_arrays(d, lambda _, about: about.update(classes=None)), ["classes None"]),
    "no vocabulary": (lambda d: (d / "vocab.json").unlink(), ["vocab.json: cannot read the vocabulary"]),
    "vocabulary is no JSON": (lambda d: (d / "vocab.json").write_text("{"), ["vocab.json: not a vocabulary: no JSON"]),
    "vocabulary of something": (lambda d: (d / "vocab.json").write_text("[]"), ["vocab.json: not a vocabulary"]),
    "another vocabulary": (
        lambda d: shutil.copy(d / "pretrain" / "vocab.json", d), ["encoder.embedding.weight: expected", "same run"]),
}  # fmt: skip


@pytest.mark.parametrize("damage, parts", DAMAGE.values(), ids=DAMAGE)
def test_a_model_that_cannot_be_used(damage, parts, tiny_run, tmp_path):
    model = tmp_path / "model"
    shutil.copytree(tiny_run, model)
    damage(model)
    is_refused(ulmfit("predict", "hi", "--model", model), model, *parts)


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


INPUTS = {
    "missing table": (["no.csv"], b"", ["no.csv: no such file"]),
    "missing text file": (["no.txt"], b"", ["no.txt: no such file"]),
    "folder": (["{tmp}/folder"], b"", ["this is a folder"]),
    "two files": (["{tmp}/a.txt", "{tmp}/a.txt"], b"", ["a.txt: is a file; give one file"]),
    "empty file": (["{tmp}/empty.txt"], b"", ["empty.txt: nothing to read"]),
    "binary file": (["{tmp}/binary.txt"], b"", ["binary.txt:1: found a NUL byte"]),
    "another column": (["{tmp}/t.csv", "--text-column", "tex"], b"", ["no column 'tex'", "--text-column text"]),
    "wrong encoding": (["-"], b"caf\xe9\n", ["<stdin>:1: byte 0xE9", "--encoding latin-1"]),
    "blank line": (["-"], b"who ?\n\nwhere ?\n", ["<stdin>:2: this line is blank"]),
    "nothing": ([""], b"", ["text 1 of 1 is blank"]),
    "unknown encoding": (["-", "--encoding", "foo"], b"x\n", ["unknown encoding 'foo'", "--encoding utf-8"]),
    "stdin is no JSON": (["--stdin", "jsonl"], b"hello\n", ["<stdin>:1: not valid JSON"]),
    "stdin is a table without texts": (["--stdin", "csv"], b"a,b\n1,2\n", ["no column 'text'"]),
    "stdin and texts": (["hi", "--stdin", "csv"], b"", ["--stdin says what standard input holds"]),
    "output is a folder": (["hi", "--out", "{tmp}/folder"], b"", ["--out", "cannot be written"]),
    "output in no folder": (["hi", "--out", "{tmp}/no/x"], b"", ["--out", "cannot be written"]),
    "output is the input": (["{tmp}/t.csv", "--out", "{tmp}/t.csv"], b"", ["is the file with the texts"]),
}


@pytest.mark.parametrize("arguments, stdin, parts", INPUTS.values(), ids=INPUTS)
def test_what_cannot_be_predicted(arguments, stdin, parts, tiny_run, tmp_path):
    (tmp_path / "folder").mkdir()
    files = {"a.txt": b"x\n", "empty.txt": b"", "binary.txt": b"\0\1", "t.csv": b"text\nwho ?\n"}
    for name, content in files.items():
        (tmp_path / name).write_bytes(content)
    arguments = [a.format(tmp=tmp_path) for a in arguments]
    is_refused(ulmfit("predict", *arguments, "--model", tiny_run, stdin=stdin), *parts)
    assert {name: (tmp_path / name).read_bytes() for name in files} == files


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
    is_refused(ulmfit("predict", "hi", "--model", tmp_path / "run"), "no model.safetensors in it")


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
