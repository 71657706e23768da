"""Which side, training or test, a template and a thing belong to, and how to tell names in a text.

Nothing here draws random numbers: every choice is an ordering by SHA-256, so the split is the same on every machine
and with every version of Python.
"""

import hashlib
import itertools
import re
from collections.abc import Callable, Iterator

from ulmfit.data.entities import Row
from ulmfit.data.slots import SLOT
from ulmfit.data.templates import TEMPLATES

Words = tuple[str, ...]


def order_key(text: str) -> str:
    """A fixed shuffle: sorting by this key mixes texts without a random number generator."""
    return hashlib.sha256(text.encode("utf-8")).hexdigest()


def words(text: str) -> Words:
    """The words of a text for comparing; WHO and who stay different words, Mars and mars do not."""
    return tuple(w if w.isupper() and len(w) > 1 else w.casefold() for w in re.findall(r"\w+", text))


def spans(tokens: Words, known: set[Words]) -> Iterator[Words]:
    """Every run of words inside `tokens` that is one of the known names."""
    longest = max(map(len, known))
    for start in range(len(tokens)):
        for stop in range(start + 1, min(len(tokens), start + longest) + 1):
            if tokens[start:stop] in known:
                yield tokens[start:stop]


def skeleton(text: str, known: set[Words]) -> Words:
    """The words of a question with every known name replaced by a blank: what is left of its template."""
    tokens, found, longest = words(text), [], max(map(len, known))
    while tokens:
        size = next((n for n in range(min(longest, len(tokens)), 0, -1) if tokens[:n] in known), 0)
        found += ["_"] if size else [tokens[0]]
        tokens = tokens[max(size, 1) :]
    return tuple(found)


def template_side(index: int) -> str:
    """Every fourth template of a class is for the test set."""
    return "test" if index % 4 == 3 else "train"


def names_in_use(kinds: dict[str, list[Row]]) -> dict[Words, set[Words]]:
    """Every name and form a question may show -> the other forms of the same thing."""
    same: dict[Words, set[Words]] = {}
    for rows in kinds.values():
        for row in rows:
            forms = {words(row[column]) for column in ("name", "plural", "expansion", "small") if column in row}
            for form in forms:
                same.setdefault(form, set()).update(forms)
    return same


def entity_sides(kinds: dict[str, list[Row]]) -> dict[Words, str]:
    """Each name -> "train" or "test": a quarter of the things, by hash, are for the test set.

    Names that contain each other (Mexico, Mexico City) form one family and stay on one side, else a test name would
    occur in a training question. For the same reason a family with a name that stands in the fixed words of a
    template takes that template's side.
    """
    same = names_in_use(kinds)
    parent = {name: name for name in same}

    def root(name: Words) -> Words:
        while parent[name] != name:
            name = parent[name]
        return name

    for name, forms in same.items():
        for other in itertools.chain(forms, spans(name, set(same))):
            first, second = sorted((root(name), root(other)))
            parent[second] = first
    fixed = {root(name): side for name, side in names_in_templates(set(same), root).items()}
    hashed = {name: "test" if int(order_key(" ".join(name)), 16) % 4 == 0 else "train" for name in parent}
    return {name: fixed.get(root(name), hashed[root(name)]) for name in parent}


def names_in_templates(known: set[Words], root: Callable[[Words], Words]) -> dict[Words, str]:
    """Names that stand in the fixed words of templates -> the side of those templates."""
    found: dict[Words, str] = {}
    for templates in TEMPLATES.values():
        for index, template in enumerate(templates):
            for fragment in SLOT.sub("|", template).split("|"):
                for name in spans(words(fragment), known):
                    if found.setdefault(root(name), template_side(index)) != template_side(index):
                        raise ValueError(f"{' '.join(name)!r} stands in templates of both sides: {template!r}")
    return found
