"""Named data sets, and how files become train, validation and test.

`load_dataset` gives a labelled `Dataset`, `load_corpus` unlabelled documents to pre-train on. The test rows
are the official ones wherever there are any; the validation rows are always cut from train, by seed.
"""

import difflib
import os
import zipfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import NamedTuple

import numpy as np

from .documents import read_corpus, read_plain_text
from .downloads import OFFICIAL, fetch
from .errors import InputError
from .progress import counted
from .splits import stratified_split, stratified_subset
from .tables import FORMATS, Row, read_imdb, read_rows, read_trec

DATASETS = ("imdb", "questions", "trec50", "trec6")
EMBEDDED = "questions"  # one of them that is in the package
CORPORA = ("wikitext-103", "wikitext-103-raw", "wikitext-2", "wikitext-2-raw")
TEST_SHARE = 0.1  # of a table that comes without a test file
FEW_TEST, FEW_VALID = 50, 20  # with fewer, the 95 % interval of an error of 20 % is over 20 points wide


@dataclass(frozen=True)
class Split:
    """Texts and, for each, the index of its class."""

    texts: list[str]
    labels: np.ndarray  # (n,) int64


@dataclass(frozen=True)
class Dataset:
    """A classification task; `classes` are in alphabetical order and `labels` index them.

    `corpus` holds the texts to fine-tune the language model on: those of train (no validation, no test) and,
    unless n_train limits them, the unlabelled text that the data set brings along. `notes` are facts that a
    report should show.
    """

    name: str
    classes: tuple[str, ...]
    train: Split
    valid: Split
    test: Split
    corpus: list[str]
    notes: tuple[str, ...]


# --- Loading ------------------------------------------------------------------------------------------------


def load_dataset(name_or_path: str | Path, *, data_dir: str | Path | None = None, seed: int = 1,
                 valid_share: float = 0.1, test_path: str | Path | None = None, text_column: str = "text",
                 label_column: str = "label", encoding: str = "utf-8", fine: bool = False,
                 n_train: int | None = None) -> Dataset:
    """A data set by name (see DATASETS) or from a CSV, TSV or JSON lines file.

    data_dir holds the official files, which are downloaded otherwise; fine=True takes TREC's 50 fine classes;
    test_path and the column names are for a file of your own, a tenth of which becomes the test set if none
    is given. n_train keeps a stratified subset of train and no unlabelled text at all: so many texts are learnt
    from, and no more. Validation and test stay what they are without it.
    """
    name = str(name_or_path)
    if (test_path is not None and name in DATASETS) or (fine and name not in ("trec6", "trec50")):
        wrong = "fine=True is for trec6" if fine else "a test file is for a table of your own"
        raise InputError(f"data set {name!r}: {wrong}; leave it out")
    if name in ("trec6", "trec50"):
        name = "trec50" if fine else name
        task = _trec(name, data_dir)
    elif name == "imdb":
        task = _imdb(data_dir)
    elif name == EMBEDDED:
        task = _Task(*(_embedded_rows(f"questions_{part}.tsv") for part in ("train", "test")), notes=(
            "the test questions have templates and names that train has not, the validation questions have the "
            "same, so theirs is the lower error",))
    elif Path(name).suffix.lower() in FORMATS or os.path.exists(name):
        columns = {"text_column": text_column, "label_column": label_column, "encoding": encoding}
        rows = read_rows(name, **columns)
        if (n := len({row.label for row in rows})) > max(3, len(rows) / 2):  # numbers, dates, texts
            raise InputError(f"{name}: {len(rows):,} rows have {n:,} different labels: is this the label column? "
                             "Name the right one with --label-column")
        own_test = test_path is not None
        task = _Task(rows, read_rows(test_path, **columns)) if own_test else _with_test(name, rows, seed)
    else:
        raise _unknown("data set", name, DATASETS, "a .csv, .tsv or .jsonl file")
    return _split(name, task, seed=seed, valid_share=valid_share, n_train=n_train)


def load_corpus(name_or_path: str | Path, *, split: str = "train", data_dir: str | Path | None = None,
                min_words: int | None = None, encoding: str = "utf-8") -> Iterator[str]:
    """The documents of a corpus by name (see CORPORA; split is train, valid or test) or from a path.

    The plain names are WikiText as language models are compared on it (rare words are <unk>), "-raw" is text.
    """
    name = str(name_or_path)
    if name in CORPORA:
        return _wikitext(name, split, data_dir, min_words or 0)
    if not Path(name).exists() and not Path(name).suffix and len(Path(name).parts) == 1:
        raise _unknown("corpus", name, CORPORA, "the path of a text file, a folder or a tar file")
    return read_corpus(name, min_words=min_words, encoding=encoding)


def embedded_corpus() -> list[str]:
    """The documents of the small English text that ships inside the package."""
    with resources.files("ulmfit.data").joinpath("english.txt").open("rb") as stream:
        return list(read_plain_text(stream))


class _Task(NamedTuple):
    """What the source of a data set knows, before train is cut."""

    rows: list[Row]
    test: list[Row]
    unlabelled: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()


def _trec(name: str, data_dir: str | Path | None) -> _Task:
    parts, files = [], ("train_5500.label", "TREC_10.label")
    for n, filename in enumerate(files):
        path = fetch(filename, data_dir, beside=files[n + 1 :])
        parts.append([Row(text, fine if name == "trec50" else coarse, f"{path}:{number}")
                      for number, (text, coarse, fine) in enumerate(read_trec(path), 1)])
    return _Task(*parts)


def _imdb(data_dir: str | Path | None) -> _Task:
    source, notes = _imdb_source(data_dir)
    rows = read_imdb(source)
    if (len(rows["train"]), len(rows["test"])) != (25_000, 25_000):
        notes.append(f"{len(rows['train']):,} train, {len(rows['test']):,} test reviews, not 25,000 each")
    return _Task(rows["train"], rows["test"], tuple(row.text for row in rows["unsup"]), tuple(notes))


def _imdb_source(data_dir: str | Path | None) -> tuple[Path, list[str]]:
    """The tar file or folder to read, and a note where there is no official checksum to compare it with."""
    official = "aclImdb_v1.tar.gz"
    if data_dir is None or (Path(data_dir) / official).exists():
        return fetch(official, data_dir), []
    here = Path(data_dir)
    archives = [here] if here.is_file() else sorted([*here.glob("*.tar.gz"), *here.glob("*.tgz")])
    folders = [folder for folder in (here, here / "aclImdb") if (folder / "train" / "pos").is_dir()]
    for source in [*folders, *archives]:
        return source, [f"read from {source.name}, which is not the official archive: not verified"]
    raise InputError(f"{here}: no IMDb here; expected {official} from {OFFICIAL[official].url}, another "
                     "tar file of it, or its folders train/pos, train/neg, test/pos, test/neg")


def _embedded_rows(filename: str) -> list[Row]:
    with resources.files("ulmfit.data").joinpath(filename).open(encoding="utf-8", newline="") as stream:
        return read_rows(stream, format="tsv")


def _with_test(name: str, rows: list[Row], seed: int) -> _Task:
    train, test = stratified_split([row.label for row in rows], TEST_SHARE, seed)
    note = f"no test file: {len(test):,} of {len(rows):,} rows were set aside as test, seed {seed}"
    return _Task([rows[i] for i in train], [rows[i] for i in test], notes=(note,))


def _wikitext(name: str, split: str, data_dir: str | Path | None, min_words: int) -> Iterator[str]:
    if split not in ("train", "valid", "test"):
        raise InputError(f"{name}: no part {split!r}; expected train, valid or test")
    filename = f"wiki.{split}.{'raw' if name.endswith('-raw') else 'tokens'}"
    archive = f"{name}-v1.zip"
    if data_dir is not None:
        for folder in (Path(data_dir), Path(data_dir) / name):
            for path in (folder / filename, folder / f"{split}.txt"):
                if path.exists():
                    return read_plain_text(path, min_words=min_words)
        if not (Path(data_dir) / archive).exists():
            raise InputError(f"{data_dir}: no {split} part of {name} here; expected {archive} (from "
                             f"{OFFICIAL[archive].url}), {filename} or {split}.txt")
    return _zipped_documents(fetch(archive, data_dir), f"{name}/{filename}", min_words)


def _zipped_documents(archive: Path, member: str, min_words: int) -> Iterator[str]:
    with zipfile.ZipFile(archive) as archive_file, archive_file.open(member) as stream:
        yield from read_plain_text(stream, min_words=min_words)


def _unknown(kind: str, name: str, known: Sequence[str], otherwise: str) -> InputError:
    close = difflib.get_close_matches(name.lower(), known, n=1)
    hint = f"did you mean {close[0]!r}? " if close else ""
    return InputError(f"unknown {kind} {name!r}: {hint}Known are {', '.join(known)}, or give {otherwise}")


def _split(name: str, task: _Task, *, seed: int, valid_share: float, n_train: int | None) -> Dataset:
    classes = _classes(name, task)
    ids = {label: k for k, label in enumerate(classes)}
    labels = np.array([ids[row.label] for row in task.rows])
    train, valid = stratified_split(labels, valid_share, seed)  # before n_train, which must not change it
    if not len(valid) or not len(task.test):
        raise InputError(f"{name}: {len(task.rows) + len(task.test)} rows are too few for train, validation "
                         "and test; give at least 3 rows of one class")
    whole = len(train)
    if n_train is not None:
        train = train[stratified_subset(labels[train], n_train, seed)]

    def part(rows: list[Row]) -> Split:
        return Split([row.text for row in rows], np.array([ids[row.label] for row in rows], dtype=np.int64))

    train_rows, valid_rows = [task.rows[i] for i in train], [task.rows[i] for i in valid]
    notes = [*task.notes, *_few(task.test, valid_rows), *_overlaps(task, train_rows, valid_rows)]
    corpus = [row.text for row in train_rows]
    if n_train is None:
        corpus += task.unlabelled
    else:
        without = f", and none of the {len(task.unlabelled):,} unlabelled texts" if task.unlabelled else ""
        notes.append(f"{n_train:,} of {whole:,} train rows are used{without}")
    return Dataset(name, classes, part(train_rows), part(valid_rows), part(task.test), corpus, tuple(notes))


def _classes(name: str, task: _Task) -> tuple[str, ...]:
    classes = tuple(sorted({row.label for row in task.rows}))
    if len(classes) < 2:
        raise InputError(f"{name}: every row has the label {classes[0]!r}; expected at least two classes, "
                         "add rows of another or choose another --label-column")
    for row in task.test:
        if row.label not in classes:
            raise InputError(f"{row.where}: label {row.label!r} is in no train row; expected one of "
                             f"{', '.join(classes[:12])}; correct it, drop the row or add it to train")
    return classes


def _few(test: list[Row], valid: list[Row]) -> Iterator[str]:
    """Where chance has the last word."""
    if len(test) < FEW_TEST:
        yield f"only {counted(len(test), 'test text')}: the error says very little"
    if len(valid) < FEW_VALID:
        yield f"only {counted(len(valid), 'validation text')}: the validation error says very little"


def _overlaps(task: _Task, train: list[Row], valid: list[Row]) -> Iterator[str]:
    """What a reader of the test error should know: texts that occur twice, classes too small to validate."""
    texts = [row.text for row in task.rows]
    known, trained = set(texts), {row.text for row in train}
    if repeated := len(texts) - len(known):
        yield f"{counted(repeated, 'duplicate train row')} (of {len(texts):,}, validation included)"
    if both := sum(row.text in trained for row in valid):
        yield f"{both:,} of the {len(valid):,} validation texts {_occur(both)} verbatim in train"
    if both := sum(row.text in known for row in task.test):
        yield f"{both:,} of the {len(task.test):,} test texts {_occur(both)} verbatim in train (validation included)"
    if lost := sorted({row.label for row in train} - {row.label for row in valid}):
        yield f"classes with a single row are not in validation: {', '.join(lost)}"


def _occur(n: int) -> str:
    return "occurs" if n == 1 else "occur"
