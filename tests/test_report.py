"""What a run shows at its end."""

import io
import json
import shlex
import sys

import pytest
from rich.console import Console

from ulmfit.errors import InputError
from ulmfit.report import confusion_table, errors_table, print_report, program

STAGE = {"seconds": 75.0, "steps": 1200, "tokens": 34_000, "tokens_per_second": 453.3}
METRICS = {
    "test_error": 9.2, "test_error_ci95": [7.0, 12.1], "baseline_error": 14.46, "n_test": 1500, "seconds": 4000.0,
    "macro_f1": 87.65,
    "classes": ["a", "[/b]"], "confusion": [[7, 3], [0, 9]], "notes": ["[/x] 3 texts occur twice"],
    "stages": {
        "pretrain": None, "finetune": STAGE | {"perplexity": 46.26, "vocab_size": 12_345},
        "classify": STAGE | {"validation_error": 8.0},
    },
}  # fmt: skip


def shown(renderable_or_function, width=100):
    console = Console(file=io.StringIO(), width=width)
    if callable(renderable_or_function):
        renderable_or_function(console)
    else:
        console.print(renderable_or_function)
    return console.file.getvalue()


def cells(text, first):
    """The cells of the table's row that begins with `first`."""
    [line] = [line for line in text.splitlines() if line.strip("│ ").startswith(first)]
    return [cell.strip() for cell in line.strip("│").split("│")]


@pytest.fixture
def run(tmp_path):
    answer = {"label": "a", "predicted": "[/b]", "probabilities": {"a": 0.1, "[/b]": 0.9}}
    rows = [{"text": f"[/i] text {n} " + "x" * 500, **answer} for n in range(12)]
    (tmp_path / "predictions.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return tmp_path


def add_answer(run, text):
    first = (run / "predictions.jsonl").read_text().splitlines()[0]
    with open(run / "predictions.jsonl", "a") as f:
        f.write(json.dumps(json.loads(first) | {"text": text}) + "\n")


def test_the_whole_report(run):
    add_answer(run, "[/i] short")
    text = shown(lambda console: print_report(console, METRICS, run), width=200)
    assert cells(text, "finetune") == ["finetune", "1,200", "34,000", "453", "1:15", "perplexity 46.3"]
    assert cells(text.splitlines()[text[: text.index("12,345")].count("\n")], "")[-1] == "(vocabulary 12,345)"
    assert cells(text, "classify")[-1] == "error 8.0 %"
    assert "pretrain" not in text  # a stage that was not done
    assert text.count("│ [/i] text") == 5 and cells(text, "[/i] text 0")[1:] == ["a", "[/b]", "0.900"]
    assert "x" * 201 not in text  # long texts are cut
    assert "Note: [/x] 3 texts occur twice." in text
    assert f"The run is saved in {run} (1:06:40)." in text
    assert f"{program()} predict '[/i] short' --model {run}\n" in text  # a text of its own
    assert "Macro F1 of ULMFiT: 87.7 %." in text
    assert "Note: there is no curves.png: matplotlib is not installed" in text


@pytest.mark.parametrize("content", [b"", b'{"text": "a', b"\xff\n", b"[]\n", b'{"text": "a", "label": "b"}\n'])
def test_answers_that_are_damaged(content, run):
    (run / "predictions.jsonl").write_bytes(content)
    with pytest.raises(InputError, match="predictions.jsonl: damaged .*; `ulmfit evaluate` asks the model once more, "):
        print_report(Console(file=io.StringIO()), METRICS, run)


def test_where_there_are_curves_nothing_is_missing(run):
    (run / "curves.png").touch()
    assert "matplotlib" not in shown(lambda console: print_report(console, METRICS, run))


@pytest.mark.parametrize("text, asked", [
    ("Who's   it ?\n", "Who's it ?"), ("$(rm -rf /) `ls` !1 \\", "$(rm -rf /) `ls` !1 \\"),
    ("word " * 13, "another"), ("x" * 61, "another"), ("é" * 60, "é" * 60),  # whole, or another one
    ("-n is an option", "another"), ("red \x1b[31m", "another"), ("half \ud800", "another"),
])  # fmt: skip
def test_what_the_shell_is_given_is_a_short_text_of_the_test_set(text, asked, run):
    rows = [{"text": t, "label": "a", "predicted": "a", "probabilities": {"a": 1.0}} for t in (text, "another")]
    (run / "predictions.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    said = shown(lambda console: print_report(console, METRICS, run)).splitlines()[-1]
    assert shlex.split(said)[-4:] == ["predict", asked, "--model", str(run)] and said.startswith("Ask it: ")


def test_where_no_text_is_short_a_place_holder_stands(run):
    said = shown(lambda console: print_report(console, METRICS, run)).splitlines()[-1]
    assert f'{program()} predict "your text" --model {run}' in said


def test_of_both_directions_it_says_what_is_a_sum(run):
    both = METRICS | {"directions": {"forward": {}, "backward": {}}}
    said = shown(lambda console: print_report(console, both, run))
    assert "Both directions: steps, tokens and times are their sums, results their means." in said
    assert "sums" not in shown(lambda console: print_report(console, METRICS | {"directions": {"forward": {}}}, run))


def a_script(folder):
    folder.mkdir()
    (folder / "ulmfit").write_text("#!/bin/sh\n")
    (folder / "ulmfit").chmod(0o755)
    return folder


def test_the_program_is_named_as_it_can_be_typed(tmp_path, monkeypatch):
    """By its name only where the shell would find the same one; else by its path, or as a module."""
    monkeypatch.chdir(tmp_path)
    mine, other = a_script(tmp_path / "my env"), a_script(tmp_path / "other")
    monkeypatch.setattr("sysconfig.get_path", lambda name: str(mine))
    for argv0 in (str(mine / "ulmfit"), "-c"):
        monkeypatch.setattr("sys.argv", [argv0])
        for path, expected in {mine: "ulmfit", f"{other}:{mine}": "'my env/ulmfit'", "/bin": "'my env/ulmfit'"}.items():
            monkeypatch.setenv("PATH", str(path))
            assert program() == expected
    for folder in ("/usr/bin", mine):
        monkeypatch.chdir(folder)
        assert program() == f"'{mine}/ulmfit'"
    (mine / "ulmfit").unlink()
    assert program() == f"{shlex.quote(sys.executable)} -m ulmfit"


def test_a_language_model_has_no_test_error(tmp_path):
    metrics = {"stages": {"pretrain": STAGE | {"perplexity": None, "vocab_size": 9}}, "seconds": 1.0}
    text = shown(lambda console: print_report(console, metrics, tmp_path))
    assert cells(text, "pretrain")[-1] == "no validation text"
    assert "Test error" not in text and "ulmfit predict" not in text


@pytest.mark.parametrize("error, text", [(14.46, "14.5"), (0.0, "0.0"), (None, "needs scikit-learn")])
def test_the_baseline_stands_beside_the_test_error(error, text):
    table = shown(errors_table(METRICS | {"baseline_error": error}))
    assert "Test error on 1,500 texts" in table
    assert cells(table, "ULMFiT") == ["ULMFiT", "9.2", "7.0 to 12.1"]
    assert cells(table, "TF-IDF")[1] == text


def test_a_confusion_matrix_has_true_classes_as_rows():
    text = shown(confusion_table(["a", "[/b]"], [[7, 3], [0, 9]]))
    assert cells(text, "a") == ["a", "7", "3"] and cells(text, "[/b]") == ["[/b]", "·", "9"]
    assert text.splitlines()[0].strip() == "Confusion matrix"  # one line above the narrowest of tables
    assert text.splitlines()[-1] == "Rows are the true classes, columns the predicted ones."


def test_of_many_classes_only_the_largest_mistakes_are_shown():
    n = 50
    matrix = [[100 if t == p else 0 for p in range(n)] for t in range(n)]
    matrix[3][7], matrix[9][2] = 5, 12
    text = shown(confusion_table([f"class{k}" for k in range(n)], matrix))
    assert cells(text, "class9") == ["class9", "class2", "12"] and cells(text, "class3") == ["class3", "class7", "5"]
    assert text.index("class9") < text.index("class3") and "100" not in text and text.count("class") == 4 + 1


def test_two_directions_are_shown_alone_as_well_and_a_run_without_the_shipped_model_beside():
    both = METRICS | {"test_error_by_direction": {"forward": 10.0, "backward": 11.5}}
    without = METRICS | {"test_error": 30.4, "test_error_ci95": [28.1, 32.9]}
    table = shown(errors_table(both, without))
    assert cells(table, "ULMFiT") == ["ULMFiT", "9.2", "7.0 to 12.1"]
    assert cells(table, "its forward")[1:] == ["10.0", ""] and cells(table, "its backward")[1:] == ["11.5", ""]
    assert cells(table, "the same without")[1:] == ["30.4", "28.1 to 32.9"]
    order = ["ULMFiT", "its forward", "its backward", "the same without", "TF-IDF"]
    assert [table.index(name) for name in order] == sorted(table.index(name) for name in order)
    one = shown(errors_table(METRICS | {"test_error_by_direction": {"forward": 9.2}}))
    assert "alone" not in one and "without" not in one
