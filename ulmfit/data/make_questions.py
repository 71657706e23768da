"""Write the embedded data set and the English text beside it: `python -m ulmfit.data.make_questions`."""

import itertools
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from ulmfit.data.entities import Row
from ulmfit.data.prose import make_english
from ulmfit.data.slots import SLOT, form_of, slot_kinds
from ulmfit.data.split import entity_sides, order_key, template_side, words
from ulmfit.data.templates import TEMPLATES

# About TREC's proportions, in which ABBR is rare.
TRAIN_COUNTS = {"ABBR": 48, "DESC": 420, "ENTY": 430, "HUM": 420, "LOC": 320, "NUM": 330}
TEST_COUNTS = {"ABBR": 12, "DESC": 108, "ENTY": 112, "HUM": 108, "LOC": 82, "NUM": 88}

HERE = Path(__file__).parent

README = """# The embedded data set

Written by `python -m ulmfit.data.make_questions`; edit the generator, not the files.

## `questions`: {n_train} training and {n_test} test questions

`questions_train.tsv` and `questions_test.tsv` hold English questions in the six coarse classes of TREC (Li and Roth,
2002): ABBR abbreviation, DESC description (definition, manner, reason), ENTY entity, HUM human (person, group, title),
LOC location, NUM number (count, date, distance, money, ...). UTF-8, a header line, columns `label` and `text`.

| class | train | test |
|---|---|---|
{table}

**What it is.** A small synthetic set for trying the whole method out in minutes. The questions are made from
{t_train} training and {t_test} test templates (`templates.py`) and from lists of real things (`entities.py`),
all written for this project; no question is taken from TREC. Classes are about as frequent as in TREC.

**How it is split.** By fixed rules (`split.py`), never by looking at a classifier's result. Every fourth
template of a class is a test template. About a quarter of the things, chosen by a hash of their names, are test
things; names that contain one another stay together, and a name in a template's fixed words goes with that
template. So no test question shares its template or its thing with a training question: a classifier must
generalise over wordings and names. Opening words are shared by the classes on purpose ("What is the name of
...", "Which ...", "How ...", "Name ..."), as they are in TREC.

**What it is not.** It is no benchmark. Templates are more regular than what people ask; paraphrases of one intent may
stand on both sides of the split, as they would in real data; several test questions come from one template, so their
errors are correlated and a confidence interval that counts them as independent is too narrow. Some templates ask
oddly of some things ("How fast can a sloth run, swim or fly?"), and a question may rest on a premise that does not
hold. A question's label follows TREC's guidelines and was given to its template, not to it alone. Use the real TREC
for any claim.

## `english.txt`: {n_words} words in {n_documents} documents

English text for the language model's pre-training stage where no Wikipedia text is at hand; documents are divided by a
blank line. {n_essays} documents ({n_essay_words} words, `essays.txt`) are written by hand; the rest are filled from
sentence patterns and fact tables (`prose.py`, `entities.py`), and that part is repetitive. It mentions
things of both sides of the split, as an encyclopedia would, but holds no test question and no question made from a test
template. Its facts are common knowledge written down from memory; do not cite it.

## Licence

The same as the project's: every file here is the project's own work.
"""


def fillings(template: str, kinds: dict[str, list[Row]]) -> Iterator[str]:
    """The questions of a template, in a fixed shuffled order."""
    slots = list(SLOT.finditer(template))
    rows = sorted(kinds[slots[0][1]], key=lambda row: order_key(template + row["name"]))
    # A slot marked #2 takes the next thing in the order; all other slots speak of the same thing.
    for row, following in zip(rows, rows[1:] + rows[:1], strict=True):
        fills = iter([form_of(following if "#" in slot[0] else row, slot[2]) for slot in slots])
        yield SLOT.sub(lambda _, fills=fills: next(fills), template)


def questions_of(label: str, side: str, count: int, kinds: dict[str, list[Row]]) -> list[str]:
    """`count` distinct questions of one class, taking the templates in turn so that each gives about as many."""
    templates = [t for index, t in enumerate(TEMPLATES[label]) if template_side(index) == side]
    turns = [fillings(template, kinds) for template in templates]
    # Templates that run dry (few planets) drop out, the others go on.
    taken = dict.fromkeys(q for turn in itertools.zip_longest(*turns) for q in turn if q is not None)
    if len(taken) < count:
        raise ValueError(f"{label} {side}: {len(taken)} questions, {count} wanted")
    return list(taken)[:count]


def make_questions(side: str) -> list[tuple[str, str]]:
    """The (label, question) rows of one side, in a fixed shuffled order."""
    kinds, counts = slot_kinds(), TRAIN_COUNTS if side == "train" else TEST_COUNTS
    sides = entity_sides(kinds)
    mine = {kind: [row for row in rows if sides[words(row["name"])] == side] for kind, rows in kinds.items()}
    rows = [(label, q) for label, count in counts.items() for q in questions_of(label, side, count, mine)]
    return sorted(rows, key=lambda row: order_key(row[1]))


# ---- the files -----------------------------------------------------------------------------------------------


def tsv(rows: list[tuple[str, str]]) -> str:
    """A table as text: a header, then a label and a question a line."""
    return "label\ttext\n" + "".join(f"{label}\t{text}\n" for label, text in rows)


def readme(train: list[tuple[str, str]], test: list[tuple[str, str]], english: str, essays: str) -> str:
    """README.md with the numbers of the data."""
    n_train, n_test = (Counter(label for label, _ in rows) for rows in (train, test))
    sides = Counter(template_side(i) for templates in TEMPLATES.values() for i in range(len(templates)))
    return README.format(
        table="\n".join(f"| {label} | {n_train[label]} | {n_test[label]} |" for label in TEMPLATES),
        n_train=len(train),
        n_test=len(test),
        t_train=sides["train"],
        t_test=sides["test"],
        n_words=len(english.split()),
        n_documents=len(english.split("\n\n")),
        n_essays=len(essays.split("\n\n")),
        n_essay_words=len(essays.split()),
    )


def make_files() -> dict[str, str]:
    """File name -> content, for everything this module writes."""
    train, test = make_questions("train"), make_questions("test")
    essays = (HERE / "essays.txt").read_text(encoding="utf-8")
    english = make_english(essays, order_key)
    return {
        "questions_train.tsv": tsv(train),
        "questions_test.tsv": tsv(test),
        "english.txt": english,
        "README.md": readme(train, test, english, essays),
    }


def main() -> None:
    """Write the files beside this module."""
    for name, content in make_files().items():
        (HERE / name).write_text(content, encoding="utf-8", newline="\n")
        print(f"{name}: {len(content.encode('utf-8')):,} bytes")


if __name__ == "__main__":
    main()
