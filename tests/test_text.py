"""Golden examples for every rule, then properties over drawn texts, then the inputs that break tokenizers."""

import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ulmfit.text import BOS, SPECIAL_TOKENS, UNK, detokenize, fix_text, tokenize


def tokens(text: str) -> str:
    """Return the tokens of a text after BOS, joined by spaces: short to write in a table."""
    first, *rest = tokenize(text)
    assert first == BOS
    return " ".join(rest)


def test_special_tokens_are_fastai_v2s_in_their_order():
    assert " ".join(SPECIAL_TOKENS) == "xxunk xxpad xxbos xxeos xxfld xxrep xxwrep xxup xxmaj"


@pytest.mark.parametrize(
    "text, expected",
    [
        # capitals
        ("What is it ?", "xxmaj what is it ?"),
        ("WWII", "xxup wwii"),
        ("I saw a B52", "i saw a xxup b52"),
        ("iPhone McDonald", "iphone mcdonald"),
        ("Élan ÉLAN", "xxmaj élan xxup élan"),
        # clitics
        ("Don't", "xxmaj do n't"),
        ("DON'T", "xxup do xxup n't"),
        ("can't won't", "ca n't wo n't"),
        ("it's they're we'll I've I'm he'd", "it 's they 're we 'll i 've i 'm he 'd"),
        ("tell 'em", "tell 'em"),
        ("don’t it’s", "do n't it 's"),
        ("I'd've", "i 'd 've"),
        ("dogs' tails", "dogs ' tails"),
        ("O'Hara at five o'clock", "o'hara at five o'clock"),
        ("hadn'th", "hadn'th"),
        ("an'tn't", "an'tn't"),
        # numbers
        ("1,000 or 3.5 or 1,234,567.89", "1,000 or 3.5 or 1,234,567.89"),
        ("in 1969, 1.", "in 1969 , 1 ."),
        ("$5 £3.20 7%", "$ 5 £ 3.20 7 %"),
        ("v1.2 5th 10km", "v1 . 2 5th 10km"),
        # abbreviations
        ("the U.S. capital", "the xxup u.s. capital"),
        ("e.g. at 5 p.m.", "e.g. at 5 p.m."),
        ("J.R.R. Tolkien, U.S.A", "xxup j.r.r. xxmaj tolkien , xxup u.s.a"),
        ("Dr. J. Smith Jr.", "xxmaj dr. xxup j. xxmaj smith xxmaj jr."),
        ("cats vs. dogs etc.", "cats vs. dogs etc."),
        ("a Ph.D.", "a ph.d."),
        ("you and I.", "you and i ."),
        # punctuation
        ("well-known", "well - known"),
        ('(yes), [no]; "so": <b>!?', '( yes ) , [ no ] ; " so " : < b > ! ?'),
        ("and/or #tag a@b", "and / or # tag a @ b"),
        ("snake_case", "snake _ case"),
        ("“quoted” ‘too’", "\" quoted \" ' too '"),
        ("wait...", "wait …"),
        ("yes 😀😀 no", "yes 😀 😀 no"),
        ("e\u0301t\u00e9", "\u00e9t\u00e9"),
        ("नमस्ते мир 東京", "नमस्ते мир 東京"),
        # runs of a character
        ("sooo good!!!", "s xxrep 3 o good xxrep 3 !"),
        ("good!!", "good ! !"),
        ("1000 2000", "1 xxrep 3 0 2 xxrep 3 0"),
        ("Aaaah AAA", "xxrep 4 a h xxrep 3 a"),
        ("-----", "xxrep 5 -"),
        # repeated words
        ("no no no no way", "xxwrep 4 no way"),
        ("no no way", "no no way"),
        ("Ha Ha Ha!", "xxwrep 3 xxmaj ha !"),
        ("ha Ha ha", "ha xxmaj ha ha"),
        (". . . .", ". . . ."),
        # special tokens in a text are ordinary words
        ("xxbos", "xx bos"),
        ("XXREP 3 a", "xxup xx xxup rep 3 a"),
        ("Xxmaj xxunk", "xxmaj xx maj xx unk"),
        ("aaaxxpad", "xxrep 3 a xx pad"),
        ("xxboss", "xxboss"),
        ("a <unk> b", "a xxunk b"),
    ],
)
def test_rules(text, expected):
    assert tokens(text) == expected


@pytest.mark.parametrize(
    "text, expected",
    [
        ("R&amp;D &lt;b&gt; &quot;x&quot; &#39;s&nbsp;y", 'R&D <b> "x" \'s\xa0y'),
        ("AG News: Oil #39;s price, quot;high quot; amp; low", 'AG News: Oil \'s price, "high " & low'),
        ("one<br />two<BR>three", "one two three"),
        ("good.\\nNew line", "good. New line"),
        ("0 @.@ 7 , red @-@ tipped , 1 @,@ 000", "0.7 , red-tipped , 1,000"),
        ("didn 't , O 'Hara , o 'clock", "didn't , O'Hara , o'clock"),
        # and what only looks like an escape stays
        ("rock &reggae AT&T; x;", "rock &reggae AT&T; x;"),
        ("mail me@ home, p <b", "mail me@ home, p <b"),
        ("the O 's and the ' real ' one", "the O 's and the ' real ' one"),
    ],
)
def test_fix_text(text, expected):
    assert fix_text(text) == expected


@pytest.mark.parametrize(
    "spaced, plain",
    [
        ("What 's the capital of France ?", "What's the capital of France?"),
        ("Who said , `` I won 't go '' ?", 'Who said, "I won\'t go"?'),
        ("How many U.S. states do n't have one ?", "How many U.S. states don't have one?"),
        ("its length is 1 @,@ 000 @.@ 5 ( red @-@ tipped ) .", "its length is 1,000.5 (red-tipped)."),
        ("Who was O 'Hara 's father ?", "Who was O'Hara's father?"),
    ],
)
def test_spaced_corpora_give_the_tokens_of_plain_text(spaced, plain):
    assert tokenize(spaced) == tokenize(plain)


@pytest.mark.parametrize(
    "text",
    [
        "What is the capital of France?",
        "I don't know (I'm sure), but it's 1,000 miles; see the U.S. map!",
        'He said, "No, no, no!"',
        "NASA's well-known and/or half-forgotten plan cost $5, or 3.5% of it.",
        "It was sooo good!!! In 2000, no no no less.",
    ],
)
def test_detokenize_reads_like_the_text(text):
    assert detokenize(tokenize(text)) == text


def test_detokenize_shows_unknown_words_and_drops_the_other_specials():
    assert detokenize(["xxbos", "xxfld", "1", "a", UNK, "xxpad", "b", "xxeos"]) == "1 a <unk> b"


@pytest.mark.parametrize(
    "generated, text",
    [
        ("xxmaj", ""),
        ("xxrep the dog", "the dog"),
        ("xxrep 3", ""),
        ("xxrep 0 a", "a"),
        ("xxrep 99999 a", "99999 a"),
        ("xxwrep 2 xxrep 3 a", "aaa aaa"),
        ("xxup xxmaj paris", "Paris"),
    ],
)
def test_detokenize_takes_whatever_a_language_model_generates(generated, text):
    assert detokenize(generated.split()) == text


# Pieces that meet in surprising ways, and any ASCII text at all.
PIECES = st.sampled_from(
    "a I A Aa aaa o O t n't 't 's 'em Dr St No U.S. e.g Ph.D. ' - / \" `` '' . ... ! ( ) & # ; 1 000 , "
    "iPhone xxbos XXREP <unk> <UNK> @-@ &amp; amp; #39; <br>".split()
) | st.sampled_from([" ", "  ", " @-@ ", "n 't", "O 'H", "ha ha ha", "\\n", "<br />"])
ASCII_TEXT = st.lists(PIECES, max_size=10).map("".join) | st.text(st.characters(max_codepoint=127))


@settings(max_examples=1000, deadline=None)
@given(ASCII_TEXT)
def test_detokenize_never_changes_the_tokens(text):
    once = tokenize(text)
    assert tokenize(detokenize(once)) == once


@settings(max_examples=500, deadline=None)
@given(ASCII_TEXT)
def test_only_rules_make_special_tokens(text):
    """A marker is always followed by what it marks; the tokens a user cannot write are never there."""
    first, *rest = tokenize(text)
    assert not {"xxpad", "xxbos", "xxeos", "xxfld"} & set(rest)
    for i, token in enumerate(rest):
        if token in ("xxrep", "xxwrep"):
            assert int(rest[i + 1]) >= 3 and i + 2 < len(rest)
        if token in ("xxup", "xxmaj"):
            assert rest[i + 1] not in SPECIAL_TOKENS


@settings(max_examples=500, deadline=None)
@given(st.text(st.characters()) | st.text(st.characters(categories=["Cs", "Cc", "So", "Mn", "Lu"])))
def test_any_str_gives_tokens_that_can_be_saved(text):
    result = tokenize(text)
    assert result[0] == BOS and all(result)
    assert not any(letter.isspace() for token in result for letter in token)
    " ".join(result).encode("utf-8")
    detokenize(result).encode("utf-8")


@settings(max_examples=200, deadline=None)
@given(st.lists(st.sampled_from("the a cat U.S. don't Paris NASA 1,000 well-known ( )".split()), max_size=8))
def test_words_do_not_depend_on_spaces_around_them(words):
    assert tokenize("  " + " \n\t ".join(words) + " ") == tokenize(" ".join(words))


@pytest.mark.parametrize("text", ["", " ", "\n\t\r ", "\x00\x01", "\u200b\ufeff"])
def test_a_text_without_visible_characters_is_bos_alone(text):
    assert tokenize(text) == [BOS]
    assert detokenize(tokenize(text)) == ""


def test_surrogates_are_joined_or_replaced():
    assert tokenize("a\ud83d\ude00b") == [BOS, "a", "😀", "b"]
    assert tokenize("a \ud800 b\udfff") == [BOS, "a", "\ufffd", "b", "\ufffd"]


def test_control_characters_separate_words():
    assert tokens("one\x00two\x07three") == "one two three"


@pytest.mark.parametrize("wrong, name", [(None, "NoneType"), (3, "int"), (b"a", "bytes"), (["a"], "list")])
def test_no_str_is_refused_by_name(wrong, name):
    with pytest.raises(TypeError, match=f"must be a str, got {name}"):
        tokenize(wrong)


def test_detokenize_refuses_one_str():
    with pytest.raises(TypeError, match="list of str"):
        detokenize("abc")


@pytest.mark.parametrize(
    "unit", "a|a |(|ab|12|1,|a.|ab'|n't|'| '|n '|&|&a|<br |<br| @-@|é|#12|😀\ufe0f|a\u0301".split("|")
)
def test_half_a_million_characters_take_linear_time(unit):
    """A pattern that backtracks needs minutes for these; the rules need some tenths of a second."""
    text = unit * (500_000 // len(unit))
    start = time.process_time()
    tokenize(text)
    assert time.process_time() - start < 3


def test_fifty_thousand_words():
    sentence = "The well-known U.S. question isn't answered in 1,000 words. "
    assert tokenize(sentence * 5_556) == [BOS, *tokens(sentence).split() * 5_556]
