"""The kinds of things that the slot of a template can hold, and the form in which a slot shows them."""

import re

from ulmfit.data import entities
from ulmfit.data.entities import PLAIN, Row

SLOT = re.compile(r"\{(\w+)(?:\.(\w+))?(?:#\d)?\}")

# Rows of a table that an attribute does not fit: a place that is no city, a job that discovers nothing, ...
LANDS = {"Cambodia", "Peru", "England", "Jordan", "Mexico", "Bavaria"}
SCIENCES = {"physicist", "astronomer", "chemist", "doctor", "mathematician", "naturalist", "monk and botanist"}
ORGANISED = {
    "health", "culture", "children", "defence", "oil", "space flight", "crime", "intelligence", "money", "trade",
    "sport", "broadcasting",
}  # fmt: skip


def rows_of(names: list[str]) -> list[Row]:
    """Names without facts, each once, as rows."""
    return [{"name": name} for name in dict.fromkeys(names)]


def slot_kinds() -> dict[str, list[Row]]:
    """kind -> its things. A filtered kind exists where an attribute fits only some things of a table."""
    kinds = {kind: rows_of(names) for kind, names in PLAIN.items()}
    kinds |= entities.TABLES
    kinds |= {
        "republic": [row for row in entities.COUNTRIES if row["government"] == "republic"],
        "bordered": [row for row in entities.COUNTRIES if row["neighbour"] != "-"],
        "river_town": rows_of([row["city"] for row in entities.RIVERS]),
        "city_landmark": [row for row in entities.LANDMARKS if row["place"] not in LANDS],
        "author": rows_of([row["author"] for row in entities.BOOKS]),
        "painter": rows_of([row["painter"] for row in entities.PAINTINGS]),
        "composer": rows_of([row["composer"] for row in entities.MUSIC]),
        "director": rows_of([row["director"] for row in entities.FILMS]),
        "scientist": [row for row in entities.PEOPLE if row["job"] in SCIENCES],
        "team_sport": [row for row in entities.SPORTS if not row["players"].startswith("one")],
        "expansion": rows_of([row["expansion"] for row in entities.ABBREVIATIONS]),
        "organisation": rows_of([r["expansion"] for r in entities.ABBREVIATIONS if r["field"] in ORGANISED]),
    }
    return kinds


def form_of(row: Row, form: str | None) -> str:
    """The text a slot shows: the name, the name with its article (`a`, `A`), or another column of the table."""
    if form in ("a", "A"):
        vowel = row["name"][0].lower() in "aeiou" and not row["name"].lower().startswith(("eu", "uk", "uni"))
        article = "an" if vowel or row["name"].startswith("hour") else "a"
        return f"{article.capitalize() if form == 'A' else article} {row['name']}"
    return row[form or "name"]
