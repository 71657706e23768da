"""Tables: what can be read, and what is said of what cannot."""

import csv
import io
import json
import tarfile

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from reading import refusal, write

from ulmfit import files, tables
from ulmfit.documents import read_corpus, read_plain_text, read_wikiextractor
from ulmfit.errors import InputError
from ulmfit.tables import read_imdb, read_lines, read_rows, read_table, read_trec

# --- Tables: what can be read --------------------------------------------------------------------------------

texts = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), min_size=1).filter(
    lambda text: text.strip() not in tables.MISSING)
labels = st.text("abc é,\"\t'", min_size=1).map(str.strip).filter(lambda label: label not in tables.MISSING)


@pytest.mark.parametrize("ending", [".csv", ".tsv", ".jsonl"])
@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(rows=st.lists(st.tuples(texts, labels), min_size=1, max_size=5))
def test_what_the_standard_writers_write_is_read_back(tmp_path, ending, rows):
    path = tmp_path / f"table{ending}"
    with open(path, "w", encoding="utf-8", newline="") as file:
        if ending == ".jsonl":
            file.writelines(json.dumps({"text": text, "label": label}) + "\n" for text, label in rows)
        else:
            table = csv.writer(file, delimiter="\t" if ending == ".tsv" else ",", quoting=csv.QUOTE_ALL)
            table.writerows([("text", "label"), *rows])
    assert read_table(path) == ([text for text, _ in rows], [label for _, label in rows])


def test_byte_order_mark_windows_line_ends_and_blank_lines_are_no_content(tmp_path):
    path = write(tmp_path, "a.csv", "\ufefftext, label\r\n\r\nWho?,HUM\r\nWhere?, LOC \r\n\r\n")
    assert read_table(path) == (["Who?", "Where?"], ["HUM", "LOC"])
    path = write(tmp_path, "a.jsonl", '\ufeff{"text": "Who?", "label": "HUM"}\r\n\r\n')
    assert read_table(path) == (["Who?"], ["HUM"])


def test_rows_know_their_first_line_behind_quoted_newlines(tmp_path):
    path = write(tmp_path, "a.csv", 'text,label\n"one\ntwo\nthree",a\n"say ""hi"", now",b\n')
    rows = read_rows(path)
    assert [row.text for row in rows] == ["one\ntwo\nthree", 'say "hi", now']
    assert [row.where for row in rows] == [f"{path}:2", f"{path}:5"]


def test_a_text_of_50000_words_is_read_and_the_global_limit_of_csv_restored(tmp_path):
    csv.field_size_limit(131_072)
    long = "wonderful " * 60_000
    path = write(tmp_path, "a.csv", f"text,label\n{long},pos\n")
    assert read_table(path) == ([long], ["pos"])
    assert csv.field_size_limit() == 131_072


def test_other_columns_encodings_and_no_labels(tmp_path):
    path = write(tmp_path, "a.tsv", "id\tbody\tstars\n1\tcafé\t5\n", encoding="latin-1")
    wanted = {"text_column": "body", "encoding": "latin-1"}
    assert read_table(path, label_column="stars", **wanted) == (["café"], ["5"])
    assert read_table(path, label_column=None, **wanted) == (["café"], None)
    assert read_table(write(tmp_path, "c.csv", "text\nred; blue|\n"), label_column=None) == (["red; blue|"], None)
    path = write(tmp_path, "d.csv", '"a;b"\nred\n')
    assert read_table(path, text_column="a;b", label_column=None) == (["red"], None)
    path = write(tmp_path, "b.csv", "text,label\nü,a\n", encoding="utf-16")
    assert read_table(path, encoding="utf-16") == (["ü"], ["a"])


def test_labels_of_json_become_strings_in_one_way_only(tmp_path):
    values = [1, 1.0, 2.5, True, " x "]
    path = write(tmp_path, "a.ndjson", "".join(json.dumps({"text": "t", "label": v}) + "\n" for v in values))
    assert read_table(path)[1] == ["1", "1", "2.5", "True", "x"]


def test_json_strings_may_hold_line_separators_emoji_and_lone_surrogates(tmp_path):
    path = write(tmp_path, "a.jsonl", '{"text": "a\u2028b \U0001f600 \\ud83d", "label": "x"}\n')
    assert read_table(path)[0] == ["a\u2028b \U0001f600 \ud83d"]


def test_streams_are_read_like_files():
    assert read_table(io.StringIO("text,label\nWho?,HUM\n"), format="csv") == (["Who?"], ["HUM"])
    assert read_lines(io.StringIO("Who?\r\n Where?\n")) == ["Who?", " Where?"]
    for content, line in (("Who?\r\n\r\nWhere?", 2), ("a\nb\n  ", 3), ("\n", 1), ("a\n\n", 2)):
        assert f"<stream>:{line}: this line is blank" in refusal(read_lines, io.StringIO(content))
    assert "<stream>: nothing to read" in refusal(read_lines, io.StringIO(""))
    raw = io.TextIOWrapper(io.BytesIO(b"fine\nsister\xf0city\n"), encoding="utf-8")
    assert "<stream>:2: byte 0xF0" in refusal(read_lines, raw)


# --- Tables: what cannot ---------------------------------------------------------------------------------------

BAD_TABLES = {
    "empty file": ("a.csv", "", ["a.csv: the file is empty", "'text'"]),
    "only blanks": ("a.jsonl", " \n\n", ["a.jsonl: the file is empty"]),
    "header only": ("a.csv", "text,label\n", ["a.csv: found a header but no rows", "add at least one row"]),
    "missing column": ("a.csv", "texts,label\nx,y\n", [
        "a.csv:1: no column 'text'", "columns seen: texts, label", "did you mean --text-column texts?"]),
    "missing column, nothing near": ("a.csv", "text,stars\nx,y\n", [
        "a.csv:1: no column 'label'", "columns seen: text, stars", "with --label-column"]),
    "missing column behind blank lines": ("a.csv", "\n\ntexts,label\nx,y\n", ["a.csv:3: no column 'text'"]),
    "semicolons": ("a.csv", "text;label\nHello, you;y\n", [
        "a.csv:1: columns are separated by ';', expected ','; save it with commas"]),
    "semicolons and quotes": ("a.csv", '\n"label";"text"\n"x";"y"\n', ["a.csv:2: columns are separated by ';'"]),
    "tabs": ("a.csv", "id\ttext\tlabel\n1\tx\ty\n", ["a.csv:1: columns are separated by '\\t'", "or as .tsv"]),
    "bars": ("a.csv", "text | label\nx | y\n", ["a.csv:1: columns are separated by '|'"]),
    "semicolons and other names": ("a.csv", "Frage;Klasse\nWho, me?;HUM\n", [
        "a.csv:1: columns are separated by ';', expected ','"]),
    "a bar within a name": ("a.csv", "texts,stars|5\nx,y\n", ["a.csv:1: no column 'text'", "seen: texts, stars|5"]),
    "commas": ("a.tsv", "text,label\nx,y\n", [
        "a.tsv:1: columns are separated by ',', expected '\\t'; save it with tabs"]),
    "other case": ("a.csv", "text,Label\nx,y\n", ["did you mean --label-column Label?"]),
    "missing key": ("a.jsonl", '{"text": "x", "label": "y"}\n{"text": "z"}\n', ["a.jsonl:2: no column 'label'"]),
    "column twice": ("a.csv", "text,label,text\nx,y,z\n", ["a.csv:1: column 'text' occurs twice", "rename"]),
    "too many cells": ("a.csv", "text,label\nx,y\nWho, me?,HUM\n", [
        "a.csv:3: found 3 cells, expected 2 (text, label)", "double quotes"]),
    "too few cells": ("a.tsv", "text\tlabel\nx\ty\nz\n", ["a.tsv:3: found 1 cells, expected 2"]),
    "open quote": ("a.csv", 'text,label\nx,y\n"never closed,y\n', ["a.csv:3: not a well-formed csv row", '""']),
    "stray quote": ("a.tsv", 'text\tlabel\n"Who" am I?\tHUM\n', ["a.tsv:2: not a well-formed tsv row"]),
    "NUL byte": ("a.csv", b"text,label\nx,y\nz\0,y\n", ["a.csv:3: found a NUL byte", "--encoding utf-16"]),
    "wrong encoding": ("a.csv", b"text,label\nx,y\nsister\xf0city,y\n", [
        "a.csv:3: byte 0xF0 at offset 21 of the file is not utf-8", "--encoding latin-1"]),
    "utf-16": ("a.csv", "text,label\nx,y\n".encode("utf-16"), ["a.csv:1: byte 0xFF", "--encoding utf-16"]),
    "empty text": ("a.csv", "text,label\nx,y\n ,y\n", [
        "a.csv:3: the text in column 'text' is missing", "drop the row"]),
    "NaN written as text": ("a.csv", "text,label\nnan,y\n", ["a.csv:2: the text", "missing ('nan')"]),
    "null text": ("a.jsonl", '{"text": null, "label": "y"}', ["a.jsonl:1: the text", "missing (None)"]),
    "NaN text": ("a.jsonl", '{"text": NaN, "label": "y"}', ["a.jsonl:1: the text", "missing (nan)"]),
    "text is a number": ("a.jsonl", '{"text": 42, "label": "y"}', [
        "a.jsonl:1: the text", "of type int (42), expected a string", "--text-column"]),
    "empty label": ("a.csv", "text,label\nx,\n", ["a.csv:2: the label in column 'label' is missing", "drop the row"]),
    "None written as label": ("a.csv", "text,label\nx,None\n", ["a.csv:2: the label", "missing ('None')"]),
    "null label": ("a.jsonl", '{"text": "x", "label": null}', ["a.jsonl:1: the label", "missing (None)"]),
    "NaN label": ("a.jsonl", '{"text": "x", "label": NaN}', ["a.jsonl:1: the label", "missing (nan)"]),
    "list label": ("a.jsonl", '{"text": "x", "label": ["y"]}', ["a.jsonl:1: the label", "list", "one label a row"]),
    "broken JSON": ("a.jsonl", '{"text": "x", "label": "y"}\n{"text": \n', ["a.jsonl:2: not valid JSON", "one object"]),
    "deep JSON": ("a.jsonl", "[" * 100_000, ["a.jsonl:1: not valid JSON"]),
    "no object": ("a.jsonl", '["x", "y"]\n', ["a.jsonl:1: expected a JSON object, found of type list", "one object"]),
    "other ending": ("a.xlsx", "x", ["a.xlsx: expected a file ending in .csv, .tsv, .jsonl, .ndjson", "convert"]),
}


@pytest.mark.parametrize("case", BAD_TABLES)
def test_a_bad_table_names_file_line_and_remedy(tmp_path, case):
    name, content, wanted = BAD_TABLES[case]
    message = refusal(read_table, write(tmp_path, name, content))
    for part in wanted:
        assert part in message


def test_a_wide_or_headerless_table_shows_a_few_columns(tmp_path):
    path = write(tmp_path, "a.csv", ",".join(["w" * 500, *"abcdefghij"]) + "\n" + "x," * 10 + "x\n")
    message = refusal(read_table, path)
    assert len(message) < len(str(path)) + 250 and "(11 in all)" in message


@pytest.mark.parametrize("read", [read_table, read_trec, read_lines, read_corpus, read_plain_text, read_imdb,
                                  read_wikiextractor])
def test_a_missing_file_is_found_at_once(tmp_path, read):
    with pytest.raises(InputError, match=r"gone\.csv: no such file; check the path"):
        read(tmp_path / "gone.csv")      # a generator that is never asked would find nothing


def test_a_folder_an_unreadable_file_and_an_unknown_encoding_are_refused(tmp_path, monkeypatch):
    (tmp_path / "a.csv").mkdir()
    assert "a.csv: this is a folder, expected a file" in refusal(read_table, tmp_path / "a.csv")
    path = write(tmp_path, "b.csv", "text,label\nx,y\n")
    for encoding in ("latin-99", "base64"):
        assert f"unknown encoding '{encoding}'; use --encoding" in refusal(read_table, path, encoding=encoding)

    def locked(*args):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(files, "open", locked, raising=False)      # chmod does not stop the superuser
    assert "b.csv: cannot be read" in (message := refusal(read_table, path)) and "permissions" in message


# --- TREC and IMDb ---------------------------------------------------------------------------------------------


def test_trec_lines(tmp_path):
    path = write(tmp_path, "t.label", b"HUM:desc Who was Galileo ?\nLOC:city What is a sister\xf0city ?\n")
    assert read_trec(path) == [("Who was Galileo ?", "HUM", "HUM:desc"),
                               ("What is a sister\xf0city ?", "LOC", "LOC:city")]


@pytest.mark.parametrize("line", ["HUM Who?", ":desc Who?", "HUM: Who?", "HUM:desc", "0 Who was Galileo ?"])
def test_a_bad_trec_line_is_named(tmp_path, line):
    message = refusal(read_trec, write(tmp_path, "t.label", f"HUM:desc Who?\n{line}\n"))
    assert "t.label:2: expected 'COARSE:fine question'" in message and "official file" in message
    assert "the file is empty" in refusal(read_trec, write(tmp_path, "e.label", "\n"))


def imdb_folders(root, skip=""):
    for part in ("train", "test"):
        for label in ("pos", "neg") + (("unsup",) if part == "train" else ()):
            if f"{part}/{label}" != skip:
                (root / part / label).mkdir(parents=True)
                for i in (1, 0):
                    write(root / part / label, f"{i}_7.txt", f"{part} {label} {i} é")
    write(root, "README.txt", "not a review")


def test_imdb_is_the_same_from_folders_and_from_a_tar_file(tmp_path):
    imdb_folders(tmp_path / "aclImdb")
    with tarfile.open(tmp_path / "a.tar.gz", "w:gz") as tar:
        tar.add(tmp_path / "aclImdb", "aclImdb")
    folders, archive = read_imdb(tmp_path / "aclImdb"), read_imdb(tmp_path / "a.tar.gz")
    for part in ("train", "test", "unsup"):
        assert [row[:2] for row in folders[part]] == [row[:2] for row in archive[part]]
    assert [row[:2] for row in archive["train"]] == [
        ("train neg 0 é", "neg"), ("train neg 1 é", "neg"), ("train pos 0 é", "pos"), ("train pos 1 é", "pos")]
    assert [row.label for row in archive["unsup"]] == [None, None]


def test_imdb_names_what_is_missing_or_damaged(tmp_path):
    imdb_folders(tmp_path, skip="test/neg")
    assert "no reviews in test/neg; give aclImdb_v1.tar.gz" in refusal(read_imdb, tmp_path)
    write(tmp_path / "train" / "pos", "0_1.txt", b" \n")
    assert "train/pos/0_1.txt: there is no text in this review" in refusal(read_imdb, tmp_path)
    (tmp_path / "train" / "pos" / "0_1.txt").unlink()
    write(tmp_path / "train" / "pos", "2_9.txt", b"\xff")
    assert "train/pos/2_9.txt: byte 0xFF" in refusal(read_imdb, tmp_path)
    assert "damaged or incomplete" in refusal(read_imdb, write(tmp_path, "a.tar.gz", b"no archive at all"))
