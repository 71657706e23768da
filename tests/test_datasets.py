"""Data sets: splits that stay put, official files that are checked, downloads that fail in one clear line."""

import hashlib
import zipfile
from pathlib import Path

import numpy as np
import pytest
from reading import refusal

from ulmfit import datasets
from ulmfit.datasets import (
    embedded_corpus,
    load_corpus,
    load_dataset,
)
from ulmfit.downloads import OFFICIAL, Official

SHARED = Path(__file__).parents[1].parent / "shared" / "data"
EMBEDDED = Path(datasets.__file__).parent / "data"
needs_trec = pytest.mark.skipif(not (SHARED / "trec6").exists(), reason="no TREC files at ../shared")
needs_questions = pytest.mark.skipif(not (EMBEDDED / "questions_test.tsv").exists(), reason="no embedded questions")
needs_english = pytest.mark.skipif(not (EMBEDDED / "english.txt").exists(), reason="no embedded English text")


def table(folder, labels, name="mine.csv", word="text"):
    path = folder / name
    path.write_text("text,label\n" + "".join(f"{word} {i},{label}\n" for i, label in enumerate(labels)))
    return path


# --- A table of one's own ------------------------------------------------------------------------------------


def test_a_table_is_split_in_three_without_a_row_lost_or_shared(tmp_path):
    path = table(tmp_path, ["neg", "pos"] * 100)
    data = load_dataset(path, seed=3)
    parts = [data.train, data.valid, data.test]
    assert [len(part.texts) for part in parts] == [162, 18, 20]
    assert sorted(sum((part.texts for part in parts), [])) == sorted(f"text {i}" for i in range(200))
    for part in parts:      # odd rows are "pos"
        assert part.labels.tolist() == [int(text.split()[1]) % 2 for text in part.texts]
        assert part.labels.dtype == np.int64
    assert data.classes == ("neg", "pos") and data.corpus == data.train.texts
    assert data.notes == ("no test file: 20 of 200 rows were set aside as test, seed 3",
                          "only 20 test texts: the error says very little",
                          "only 18 validation texts: the validation error says very little")
    again, other = load_dataset(str(path), seed=3), load_dataset(path, seed=4)
    assert again.valid.texts == data.valid.texts != other.valid.texts


def test_a_test_file_is_used_whole_and_overlaps_are_counted(tmp_path):
    train = tmp_path / "train.csv"
    train.write_text("text,label\n" + "same,a\n" * 20 + "".join(f"other {i},b\n" for i in range(20)))
    test = tmp_path / "test.csv"
    test.write_text("text,label\nnew,b\nsame,a\nother 3,b\n")
    data = load_dataset(train, test_path=test)
    assert data.test.texts == ["new", "same", "other 3"] and data.test.labels.tolist() == [1, 0, 1]
    assert data.notes[2:] == ("19 duplicate train rows (of 40, validation included)",
                              "2 of the 4 validation texts occur verbatim in train",
                              "2 of the 3 test texts occur verbatim in train (validation included)")
    test.write_text("text,label\nsame,a\n")
    data = load_dataset(train, test_path=test)
    assert data.notes[0] == "only 1 test text: the error says very little"
    assert data.notes[-1] == "1 of the 1 test texts occurs verbatim in train (validation included)"
    assert "40 of the 40 test texts occur" in load_dataset(train, test_path=train).notes[-1]


def test_n_train_leaves_validation_and_test_alone(tmp_path):
    path = table(tmp_path, ["a", "b", "b"] * 60)
    whole, small = load_dataset(path), load_dataset(path, n_train=15)
    assert np.bincount(small.train.labels).tolist() == [5, 10] and set(small.train.texts) < set(whole.train.texts)
    assert small.valid.texts == whole.valid.texts and small.test.texts == whole.test.texts
    assert small.corpus == small.train.texts and "15 of 146 train rows are used" in small.notes[-1]
    assert "--n-train 1000: expected 2 (one a class) to 146" in refusal(load_dataset, path, n_train=1000)


def test_unusable_tables_are_refused(tmp_path):
    train = table(tmp_path, ["a", "b"] * 10)
    test = table(tmp_path, ["a", "b", "new", "c"], "test.csv", "test")
    message = refusal(load_dataset, train, test_path=test)
    assert "test.csv:4: label 'new' is in no train row; expected one of a, b; correct it" in message
    message = refusal(load_dataset, table(tmp_path, ["a"] * 9, "one.csv"))
    assert "one.csv: every row has the label 'a'; expected at least two classes" in message
    for labels in ("ab", "aab", "aabb"):
        few = table(tmp_path, labels, "few.csv")
        assert f"few.csv: {len(labels)} rows are too few" in refusal(load_dataset, few)
    assert len(load_dataset(table(tmp_path, "aaab", "few.csv")).train.texts) == 2


@pytest.mark.parametrize("n, n_labels, refused", [(9, 9, True), (100, 51, True), (100, 50, False), (6, 3, False)])
def test_labels_that_hardly_repeat_are_from_another_column(n, n_labels, refused, tmp_path):
    path = table(tmp_path, [f"{k % n_labels + 0.5}" for k in range(n)])
    if refused:
        message = refusal(load_dataset, path)
        assert f"{n} rows have {n_labels} different labels: is this the label column? Name the right one" in message
    else:
        assert len(load_dataset(path, test_path=path).classes) == n_labels


def test_why_the_validation_error_of_the_embedded_questions_is_low_is_noted():
    assert "the test questions have templates and names that train has not" in load_dataset("questions").notes[0]


def test_enough_texts_are_no_news(tmp_path):
    few = {n: load_dataset(table(tmp_path, ["a", "b"] * n, f"{n}.csv")).notes for n in (55, 100, 250)}
    assert [sum("says very little" in note for note in notes) for notes in few.values()] == [2, 2, 0]


def test_a_lonely_class_is_noted(tmp_path):
    data = load_dataset(table(tmp_path, ["a", "b"] * 10 + ["c"]), test_path=table(tmp_path, "ab", "t.csv", "t"))
    assert data.notes[-1] == "classes with a single row are not in validation: c"


def test_unknown_names_and_misplaced_options_are_refused(tmp_path):
    message = refusal(load_dataset, "trec-6")
    assert "unknown data set 'trec-6': did you mean 'trec6'?" in message and "imdb, questions, trec50" in message
    assert "unknown data set 'zzz': Known are imdb" in refusal(load_dataset, "zzz")
    assert "gone.csv: no such file" in refusal(load_dataset, str(tmp_path / "gone.csv"))
    assert "expected a file ending in .csv" in refusal(load_dataset, tmp_path)
    assert "fine=True is for trec6" in refusal(load_dataset, "imdb", fine=True)
    assert "a test file is for a table of your own" in refusal(load_dataset, "trec6", test_path="x.csv")
    assert "unknown corpus 'wikitext2': did you mean 'wikitext-2'?" in refusal(load_corpus, "wikitext2")
    assert "no part 'dev'; expected train, valid or test" in refusal(load_corpus, "wikitext-2", split="dev")
    assert "gone.txt: no such file" in refusal(load_corpus, tmp_path / "gone.txt")


# --- Named data sets -----------------------------------------------------------------------------------------


@needs_trec
def test_trec6_is_the_official_one_with_a_tenth_set_aside():
    data = load_dataset("trec6", data_dir=SHARED / "trec6")
    assert data.classes == ("ABBR", "DESC", "ENTY", "HUM", "LOC", "NUM")
    assert len(data.train.texts) + len(data.valid.texts) == 5452 and len(data.test.texts) == 500
    everything = np.concatenate([data.train.labels, data.valid.labels])
    assert np.bincount(everything).tolist() == [86, 1162, 1250, 1223, 835, 896]
    assert np.bincount(data.test.labels).tolist() == [9, 138, 94, 65, 81, 113]
    assert np.bincount(data.valid.labels).tolist() == [9, 116, 125, 122, 83, 90]
    assert sum("sister\xf0city" in text for text in data.train.texts + data.valid.texts) == 1
    assert "71 duplicate train rows (of 5,452, validation included)" in data.notes
    assert "10 of the 500 test texts occur verbatim in train (validation included)" in data.notes
    assert not set(data.corpus) - set(data.train.texts) and len(data.corpus) == len(data.train.texts)


@needs_trec
def test_trec50_has_the_fine_classes():
    data = load_dataset("trec6", data_dir=SHARED / "trec6", fine=True)
    assert data.name == "trec50" and len(data.classes) == 50 and "HUM:desc" in data.classes
    assert len(set(data.test.labels)) == 42 and len(set(data.valid.labels)) == 50
    assert load_dataset("trec50", data_dir=SHARED / "trec6").valid.texts == data.valid.texts


def test_imdb_folders_bring_unlabelled_reviews_and_honest_notes(tmp_path):
    for folder in ("train/pos", "train/neg", "train/unsup", "test/pos", "test/neg"):
        (tmp_path / "aclImdb" / folder).mkdir(parents=True)
        for i in range(4):
            (tmp_path / "aclImdb" / folder / f"{i}_1.txt").write_text(f"{folder} {i}")
    data = load_dataset("imdb", data_dir=tmp_path)
    assert data.classes == ("neg", "pos") and data.test.labels.tolist() == [0] * 4 + [1] * 4
    assert data.corpus == data.train.texts + [f"train/unsup {i}" for i in range(4)]
    assert data.notes[:2] == ("read from aclImdb, which is not the official archive: not verified",
                              "8 train, 8 test reviews, not 25,000 each")
    few = load_dataset("imdb", data_dir=tmp_path, n_train=4)
    assert sorted(few.corpus) == sorted(few.train.texts) and len(few.corpus) == 4
    assert few.notes[-1] == "4 of 6 train rows are used, and none of the 4 unlabelled texts"
    (tmp_path / "aclImdb_v1.tar.gz").write_bytes(b"altered")
    assert "sha256 is" in refusal(load_dataset, "imdb", data_dir=tmp_path)
    assert "no IMDb here; expected aclImdb_v1.tar.gz" in refusal(load_dataset, "imdb", data_dir=tmp_path / "none")


@needs_questions
def test_the_embedded_questions_have_six_classes_and_no_overlap():
    data = load_dataset("questions")
    assert data.classes == ("ABBR", "DESC", "ENTY", "HUM", "LOC", "NUM")
    assert not set(data.test.texts) & {*data.train.texts, *data.valid.texts}
    assert set(data.test.labels) == set(data.valid.labels) == set(range(6))


@needs_english
def test_the_embedded_corpus_has_documents():
    documents = embedded_corpus()
    assert len(documents) > 1 and all(document.strip() for document in documents)


def test_wikitext_from_the_zip_from_loose_files_and_from_any_path(tmp_path, monkeypatch):
    text = " \n = One = \n \n First . \n \n = Two = \n"
    archive = tmp_path / "wikitext-2-v1.zip"
    with zipfile.ZipFile(archive, "w") as file:
        file.writestr("wikitext-2/wiki.train.tokens", text)
    sha256 = hashlib.sha256(archive.read_bytes()).hexdigest()
    monkeypatch.setitem(OFFICIAL, archive.name, Official("http://127.0.0.1/none", sha256))
    assert list(load_corpus("wikitext-2", data_dir=tmp_path)) == ["= One =\nFirst .", "= Two ="]
    loose = tmp_path / "wikitext-2-raw"
    loose.mkdir()
    (loose / "wiki.valid.raw").write_text(text)
    (loose / "test.txt").write_text("only this")
    assert len(list(load_corpus("wikitext-2-raw", split="valid", data_dir=tmp_path))) == 2
    assert list(load_corpus("wikitext-2-raw", split="test", data_dir=loose)) == ["only this"]
    message = refusal(load_corpus, "wikitext-2-raw", data_dir=tmp_path)
    assert "no train part" in message and "wikitext-2-raw-v1.zip" in message and "wiki.train.raw" in message
    assert list(load_corpus(loose / "test.txt")) == ["only this"]
