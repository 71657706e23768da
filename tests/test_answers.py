"""Where texts to predict come from, and how answers are written."""

import csv
import io

import numpy as np
import pytest

from ulmfit.commands.answers import _write_predictions, check_output, read_texts
from ulmfit.errors import InputError

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


@pytest.mark.parametrize("name", ["new.csv", "old.csv"])
def test_an_output_file_may_be_new_or_old(name, tmp_path):
    (tmp_path / "old.csv").write_text("x")
    check_output(tmp_path / name, ["a text", str(tmp_path / "other.csv")])
    assert (tmp_path / "old.csv").read_text() == "x"  # not before there is something to write
    assert [p.name for p in tmp_path.iterdir()] == ["old.csv"]


def test_an_output_file_is_not_the_input_under_another_name(tmp_path):
    (tmp_path / "t.csv").write_text("text\nx\n")
    (tmp_path / "link.csv").symlink_to(tmp_path / "t.csv")
    with pytest.raises(InputError, match="is the file with the texts"):
        check_output(tmp_path / "link.csv", [str(tmp_path / "t.csv")])


@pytest.mark.parametrize("text", ["a", 'a"b', "a,b", "a\nb", "a\rb", "a\r\nb", "", " a ", "😀", "\t"])
def test_csv_gives_every_text_and_label_back(text):
    f, probabilities = io.StringIO(), np.array([[0.25, 0.75]])
    _write_predictions(f, "csv", [text], ["x", f"y{text}"], probabilities)
    [header, row] = csv.reader(io.StringIO(f.getvalue(), newline=""))
    assert header == ["text", "predicted", "p_x", f"p_y{text}"]
    assert row == [text, f"y{text}", "0.250000", "0.750000"]


@pytest.mark.parametrize("format, lines", [("text", 0), ("csv", 1), ("jsonl", 0)])
def test_no_texts_give_no_answers(format, lines):
    f = io.StringIO()
    _write_predictions(f, format, [], ["x", "y"], np.zeros((0, 2)))
    assert f.getvalue().count("\n") == lines
