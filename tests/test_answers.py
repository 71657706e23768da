"""Where texts to predict come from, and how answers are written."""

import csv
import io

import numpy as np
import pytest

from ulmfit.commands.answers import _write_predictions, predict_texts, read_texts
from ulmfit.errors import InputError
from ulmfit.predictor import Predictor

OPTIONS = {"text_column": "text", "encoding": "utf-8"}


class Terminal(io.StringIO):
    def isatty(self):
        return True


def test_nothing_is_awaited_from_a_terminal(monkeypatch):
    monkeypatch.setattr("sys.stdin", Terminal())
    with pytest.raises(InputError, match="no text to predict: give texts, a file, or - for standard input"):
        read_texts([], **OPTIONS)


@pytest.mark.parametrize("arguments", [["a"], ["a", "b", "c"], ["a" * 5000], ["who/what ?"], ["a\0b"], ["."]])
def test_what_names_no_file_is_a_text(arguments, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert read_texts(arguments, **OPTIONS) == arguments


def test_what_names_a_file_is_read(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "questions").write_text("one\r\ntwo\n three")
    assert read_texts(["questions"], **OPTIONS) == ["one", "two", " three"]


@pytest.mark.parametrize("arguments, which", [([""], "1 of 1"), (["a", " \t"], "2 of 2"), (["", "a", ""], "1 of 3")])
def test_a_blank_argument_is_no_text(arguments, which):
    """Often a variable of the shell that is empty."""
    with pytest.raises(InputError, match=f"^text {which} is blank; leave it out"):
        read_texts(arguments, **OPTIONS)


@pytest.mark.parametrize("text", ["a", 'a"b', "a,b", "a\nb", "a\rb", "a\r\nb", "", " a ", "😀", "\t"])
def test_csv_gives_every_text_and_label_back(text):
    f, probabilities = io.StringIO(), np.array([[0.25, 0.75]])
    _write_predictions(f, "csv", [text], ["x", f"y{text}"], probabilities)
    [header, row] = csv.reader(io.StringIO(f.getvalue(), newline=""))
    assert header == ["text", "predicted", "p_x", f"p_y{text}"]
    assert row == [text, f"y{text}", "0.250000", "0.750000"]


def test_answers_that_are_broken_off_leave_those_that_were_there(tmp_path, monkeypatch):
    class Classes:
        classes = ["x", "y"]

        def predict_proba_each(self, texts):
            return np.full((1, len(texts), 2), 0.5)

    (out := tmp_path / "out").write_text("old")
    monkeypatch.setattr(Predictor, "load", lambda *_: Classes())
    with pytest.raises(AttributeError):
        predict_texts(["a", None], "run", None, "text", out)  # the second one cannot be written
    assert out.read_text() == "old" and [p.name for p in tmp_path.iterdir()] == ["out"]
    predict_texts(["a"], "run", None, "text", out)
    assert out.read_text() == "x\t0.5000\ta\n"


@pytest.mark.parametrize("format, lines", [("text", 0), ("csv", 1), ("jsonl", 0)])
def test_no_texts_give_no_answers(format, lines):
    f = io.StringIO()
    _write_predictions(f, format, [], ["x", "y"], np.zeros((0, 2)))
    assert f.getvalue().count("\n") == lines
