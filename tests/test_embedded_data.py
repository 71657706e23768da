"""The embedded data set is what its README says: well-formed, reproducible, and honestly split."""

import re
from collections import Counter
from pathlib import Path

import pytest

import ulmfit.data
from ulmfit.data.make_questions import TEST_COUNTS, TRAIN_COUNTS, make_files
from ulmfit.data.slots import form_of, slot_kinds
from ulmfit.data.split import entity_sides, names_in_use, skeleton, spans, template_side, words
from ulmfit.data.templates import TEMPLATES

HERE = Path(ulmfit.data.__file__).parent


def read_rows(name: str) -> list[tuple[str, str]]:
    """The (label, text) rows of a shipped file, read without the generator."""
    header, *lines = (HERE / name).read_text(encoding="utf-8").removesuffix("\n").split("\n")
    assert header == "label\ttext"
    return [tuple(line.split("\t")) for line in lines]


TRAIN, TEST = read_rows("questions_train.tsv"), read_rows("questions_test.tsv")
ENGLISH = (HERE / "english.txt").read_text(encoding="utf-8")
SIDES = entity_sides(slot_kinds())
NAMES = set(SIDES)


def names_of(side: str) -> set[tuple[str, ...]]:
    return {name for name, its_side in SIDES.items() if its_side == side}


def test_the_files_are_what_the_generator_writes():
    for name, content in make_files().items():
        assert (HERE / name).read_bytes() == content.encode("utf-8"), f"{name}: run the generator again"


def test_counts_and_classes():
    assert Counter(label for label, _ in TRAIN) == TRAIN_COUNTS
    assert Counter(label for label, _ in TEST) == TEST_COUNTS
    assert set(TRAIN_COUNTS) == set(TEST_COUNTS) == {"ABBR", "DESC", "ENTY", "HUM", "LOC", "NUM"}
    assert len(TRAIN) + len(TEST) >= 2000 and TRAIN_COUNTS["ABBR"] >= 40


def test_all_questions_are_distinct_and_clean():
    texts = [text for _, text in TRAIN + TEST]
    assert len({words(text) for text in texts}) == len(texts)
    for text in texts:
        assert re.fullmatch(r"[A-Z]\S* .*[^\s][?.]", text), text
        assert not re.search(r"[{}_\t|]|  |\bthe the\b|\ba [aeio]|\ban (?!hour)[^aeiou]", text, re.I), text


def test_rows_are_shuffled():
    """Sorted by class, a batch in file order would hold one class only."""
    for rows in (TRAIN, TEST):
        assert len({label for label, _ in rows[:40]}) >= 5


@pytest.mark.parametrize(("rows", "other"), [(TRAIN, "test"), (TEST, "train")], ids=["train", "test"])
def test_no_question_names_a_thing_of_the_other_side(rows, other):
    foreign = names_of(other)
    assert len(foreign) > 200
    for _, text in rows:
        assert not list(spans(words(text), foreign)), text


def test_no_question_is_left_without_a_known_name():
    """Else the check above would pass because it knows no names."""
    for _, text in TRAIN + TEST:
        assert list(spans(words(text), NAMES)), text


def test_train_and_test_share_no_template():
    train, test = ({skeleton(text, NAMES) for _, text in rows} for rows in (TRAIN, TEST))
    assert len(train) >= 300 and len(test) >= 100
    assert not train & test


def test_many_templates_a_class_on_both_sides():
    for label, templates in TEMPLATES.items():
        assert len(set(templates)) == len(templates)
        n = Counter(template_side(i) for i in range(len(templates)))
        least = (12, 5) if label == "ABBR" else (30, 12)
        assert n["train"] >= least[0] and n["test"] >= least[1], label


def test_the_opening_words_do_not_decide_the_class():
    """A classifier that knows only the first word must be wrong on a third of its own training set."""
    by_word: dict[str, Counter] = {}
    for label, text in TRAIN:
        by_word.setdefault(text.split()[0], Counter())[label] += 1
    assert sum(max(c.values()) for c in by_word.values()) < len(TRAIN) * 2 / 3
    opened = {label for label, text in TRAIN if text.startswith("What is the name of")}
    assert {"ENTY", "HUM", "LOC"} <= opened


def test_english_holds_no_test_question():
    spoken = " " + " ".join(words(ENGLISH)) + " "
    for _, text in TEST:
        assert f" {' '.join(words(text))} " not in spoken, text


def test_english_asks_nothing_by_a_test_template():
    test = {skeleton(text, NAMES) for _, text in TEST}
    asked = re.findall(r"[^.?!\"\n]+\?", ENGLISH)
    assert len(asked) > 500
    for question in asked:
        assert skeleton(question, NAMES) not in test, question


def test_english_is_text_of_documents():
    documents = ENGLISH.strip().split("\n\n")
    assert len(set(documents)) == len(documents) >= 500
    assert 60_000 <= len(ENGLISH.split()) <= 120_000
    assert not re.search(r"[{}|_]|  |\ba [aeio]\w|\ban (?!hour)[^aeiou\W]", ENGLISH, re.IGNORECASE)


def test_the_essays_are_in_the_english_text():
    essays = (HERE / "essays.txt").read_text(encoding="utf-8").strip().split("\n\n")
    assert set(essays) <= set(ENGLISH.strip().split("\n\n"))


def test_the_readme_gives_the_numbers():
    readme = (HERE / "README.md").read_text(encoding="utf-8")
    for label in TRAIN_COUNTS:
        train, test = (sum(row[0] == label for row in rows) for rows in (TRAIN, TEST))
        assert f"| {label} | {train} | {test} |" in readme
    assert f"{len(TRAIN)} training and {len(TEST)} test questions" in readme
    assert f"{len(ENGLISH.split())} words in" in readme


def test_the_files_are_small():
    assert sum(path.stat().st_size for path in HERE.iterdir() if path.is_file()) <= 1_000_000


def test_names_that_contain_each_other_stay_together():
    same = names_in_use(slot_kinds())
    for name in NAMES:
        assert {SIDES[inner] for inner in spans(name, NAMES)} == {SIDES[name]}
        assert {SIDES[form] for form in same[name]} == {SIDES[name]}


@pytest.mark.parametrize(
    ("name", "form", "text"),
    [("owl", "a", "an owl"), ("hour", "A", "An hour"), ("ukulele", "a", "a ukulele"), ("tuba", None, "tuba")],
)
def test_articles(name, form, text):
    assert form_of({"name": name}, form) == text
