"""Nothing that a stranger writes reaches the terminal as an order to it."""

import ast

from hostile import controls
from hypothesis import given
from hypothesis import strategies as st

from ulmfit.errors import InputError
from ulmfit.printable import LONGEST, one_line, printable


@given(st.text())
def test_no_control_character_is_left_and_no_other_is_touched(text):
    said = printable(text)
    assert not controls(said)
    assert controls(text) or said == text


@given(st.text(st.sampled_from("a\x1b\n\x9b\u202e\u2028\ud800é \u200d😀")))
def test_the_escapes_are_pythons(text):
    assert ast.literal_eval(f'"{printable(text)}"') == text


def test_emoji_and_blanks_of_other_languages_stay():
    assert printable("👩‍🚀 \u00a0\u3000 می\u200cخواهم") == "👩‍🚀 \u00a0\u3000 می\u200cخواهم"


@given(st.text(max_size=20), st.integers(0, 3 * LONGEST))
def test_a_long_message_keeps_its_beginning_and_its_end(text, n):
    message = one_line(f"a.csv:{text}{'x' * n}; drop the row")
    assert len(message) <= LONGEST + 10 and message.startswith("a.csv:") and message.endswith("; drop the row")
    assert ("…" in message) == (len(printable(text)) + n + 20 > LONGEST) or "…" in text


def test_an_error_of_the_user_is_one_clear_line_whatever_it_names():
    assert str(InputError("a\nb\x1b[2J: no such file")) == r"a\nb\x1b[2J: no such file"
