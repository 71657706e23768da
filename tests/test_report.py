"""What a run shows at its end."""

import io
import json

import pytest
from rich.console import Console

from ulmfit.report import confusion_table, errors_table, print_report

STAGE = {"seconds": 75.0, "steps": 1200, "tokens": 34_000, "tokens_per_second": 453.3}
METRICS = {
    "test_error": 9.2, "test_error_ci95": [7.0, 12.1], "baseline_error": 14.46, "n_test": 1500, "seconds": 4000.0,
    "classes": ["a", "[/b]"], "confusion": [[7, 3], [0, 9]], "notes": ["[/x] 3 texts occur twice"],
    "stages": {
        "pretrain": None, "finetune": STAGE | {"perplexity": 46.26}, "classify": STAGE | {"validation_error": 8.0},
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


def test_the_whole_report(run):
    text = shown(lambda console: print_report(console, METRICS, run), width=200)
    assert cells(text, "finetune") == ["finetune", "1,200", "34,000", "453", "1:15", "perplexity 46.3"]
    assert cells(text, "classify")[-1] == "error 8.0 %"
    assert "pretrain" not in text  # a stage that was not done
    assert text.count("[/i] text") == 5 and cells(text, "[/i] text 0")[1:] == ["a", "[/b]", "0.900"]
    assert "x" * 201 not in text  # long texts are cut
    assert "Note: [/x] 3 texts occur twice." in text
    assert f"The run is saved in {run} (1:06:40)." in text
    assert f'ulmfit predict "Who invented the telephone?" --model {run}\n' in text


def test_a_language_model_has_no_test_error(tmp_path):
    metrics = {"stages": {"pretrain": STAGE | {"perplexity": None}}, "seconds": 1.0}
    text = shown(lambda console: print_report(console, metrics, tmp_path))
    assert cells(text, "pretrain")[-1] == "-"
    assert "Test error" not in text and "ulmfit predict" not in text


@pytest.mark.parametrize("error, text", [(14.46, "14.5"), (0.0, "0.0"), (None, "needs scikit-learn")])
def test_the_baseline_stands_beside_the_test_error(error, text):
    table = shown(errors_table(METRICS | {"baseline_error": error}))
    assert "Test error on 1,500 texts" in table
    assert cells(table, "ULMFiT") == ["ULMFiT", "9.2", "7.0 to 12.1"]
    assert cells(table, "TF-IDF")[1] == text


def test_a_confusion_matrix_has_true_classes_as_rows():
    text = shown(confusion_table(["a", "[/b]"], [[7, 3], [0, 9]]))
    assert cells(text, "a") == ["a", "7", "3"] and cells(text, "[/b]") == ["[/b]", "", "9"]


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
    one = shown(errors_table(METRICS | {"test_error_by_direction": {"forward": 9.2}}))
    assert "alone" not in one and "without" not in one
