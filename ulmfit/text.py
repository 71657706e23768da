"""Text to tokens and back: fastai's rules around an English tokenizer in the manner of spaCy.

    tokenize("What's the U.S. capital?")  ->  xxbos xxmaj what 's the xxup u.s. capital ?

Four steps, each a function below, in the order in which a text meets them:

    fix_text      undo HTML and WikiText escapes, mend apostrophes that a corpus has split off
    split_chunk   cut what stands between two spaces into words and punctuation
    mark_word     lower-case a word; lost capitals (xxup, xxmaj) and runs (xxrep) become tokens of their own
    mark_repeats  "no no no no" becomes "xxwrep 4 no"

Only the first and the last step look across a space, so a text that comes with spaces between its tokens
(TREC, WikiText) gives the tokens of the same text without them. And since words follow Zipf's law, a small
cache of chunks makes the whole tokenizer fast.

Special tokens come from these rules alone. A user who writes "xxbos" gets the two ordinary tokens "xx" "bos";
the one way to write a special token is WikiText's "<unk>", which means xxunk.

The rules are fastai v2's (`fastai/text/core.py`), the code is our own. Known differences: case and repeats
are decided word by word, not by the spaces around, so "(Hello" is marked as "Hello" is; a run of a character
ignores case ("Aaah"); a number with separators stays whole ("1,000"), while "1000" is "1 xxrep 3 0", as in
fastai. Spaces around "/" and "#" need no rule: each is a token by itself.
"""

import html
import re
import unicodedata
from collections.abc import Iterable, Iterator
from functools import lru_cache
from itertools import chain, groupby, islice
from operator import eq

UNK, PAD, BOS, EOS, FLD = "xxunk", "xxpad", "xxbos", "xxeos", "xxfld"  # unknown, padding, begin, end, field
REP, WREP, UP, MAJ = "xxrep", "xxwrep", "xxup", "xxmaj"  # repeated character, repeated word, CAPS, Capital
SPECIAL_TOKENS = (UNK, PAD, BOS, EOS, FLD, REP, WREP, UP, MAJ)  # in fastai v2's order: ids 0..8

UNKNOWN_WORD = "<unk>"  # how a text spells xxunk
MAX_COUNT_DIGITS = 4  # detokenize believes counts up to 9999: a generated "xxrep 999999999 a" is no bomb
CACHED_LENGTH = 40  # characters; longer chunks are rare and large: they are cut each time
CACHE_SIZE = 1 << 16

_LETTER = (  # letters and digits of any script, and the marks that combine with them (\w leaves marks out)
    r"(?:[^\W_]|[\u0300-\u036f\u0483-\u0487\u0591-\u05bd\u064b-\u065f\u0900-\u0963\u0966-\u0dff])"
)
_VISIBLE = r"[^\s\x00-\x1f\x7f-\x9f\u200b\ufe0e\ufe0f\ufeff]"  # control characters part words, as spaces do
_NOT = rf"n't(?!{_LETTER})"
_CLITIC = rf"(?:s|re|ll|ve|m|d|em)(?!{_LETTER})"
_TITLES = "Mr|Mrs|Ms|Dr|Prof|St|Mt|Jr|Sr|Gen|Col|Capt|Lt|Sgt|Rev|Gov|Sen|Inc|Ltd|Corp|Co|Bros|No|Nos|vs|etc"

_APART = re.compile(  # what is taken out of a chunk first: 1,000  3.5  and runs: !!!  the ooo of sooo
    rf"(?<!{_LETTER})\d+(?:[.,]\d+)+|({_VISIBLE})\1{{2,}}", re.IGNORECASE
)
_WORD = re.compile(  # the first alternative that fits wins
    rf"""{UNKNOWN_WORD}
    | (?:[^\W\d_]\.)+[^\W\d_](?:\.|(?!{_LETTER})) | ph\.d\.    # U.S.  e.g.  U.S.A  Ph.D.
    | (?-i:(?:{_TITLES})\.(?!{_LETTER}) | [A-HJ-Z]\.)          # Dr.  the J. of J. Smith; but "you and I."
    | {_NOT} | '{_CLITIC}                                      # do n't  what 's
    | (?:(?!{_NOT}){_LETTER})+(?:'(?!{_CLITIC}){_LETTER}+)*     # word  O'Hara  o'clock
    | {_VISIBLE}                                               # any other sign, one token each""",
    re.VERBOSE | re.IGNORECASE,
)
_IS_RUN = re.compile(r"(.)\1{2,}", re.IGNORECASE | re.DOTALL)
_IS_CLITIC = re.compile(rf"{_NOT}|'{_CLITIC}", re.IGNORECASE)
_QUOTES = str.maketrans({"“": '"', "”": '"', "„": '"', "‘": "'", "’": "'"})

_ENTITY = re.compile(r"&(?:#\w{1,8}|[a-zA-Z]\w{1,30});|(?<![\w&#])(?:#\d{2,4}|amp|quot|lt|gt|nbsp);")
_LINE_BREAK = re.compile(r"(?i:<br\s*/?>)|\\n")
_WIKITEXT = re.compile(r" @([-.,])@ ")
_LOOSE_APOSTROPHE = re.compile(  # didn 't, O 'Hara, o 'clock
    rf"(?<=n) ['’](?=t(?!{_LETTER}))|(?<=\b[dlo]) ['’](?!{_CLITIC})(?={_LETTER}{{2}})", re.IGNORECASE
)


def fix_text(text: str) -> str:
    """Undo HTML and WikiText escapes, mend split apostrophes, and return plain text.

    HTML entities (also AG News' broken "#39;" and "quot;"), <br /> and a written "\\n" (Yelp), WikiText's
    " @-@ ", and "didn 't". The quick `in` tests spare most texts the regular expressions.
    """
    if ";" in text:
        text = _ENTITY.sub(lambda match: html.unescape("&" + match[0].removeprefix("&")), text)
    if "<" in text or "\\" in text:
        text = _LINE_BREAK.sub(" ", text)
    if "@ " in text:
        text = _WIKITEXT.sub(r"\1", text)
    if " '" in text or " ’" in text:
        text = _LOOSE_APOSTROPHE.sub("'", text)
    return text


def split_chunk(chunk: str) -> list[str]:
    """Cut a text without spaces into words and punctuation: "(Don't!!!" -> "(", "Do", "n't", "!!!"."""
    if not chunk.isascii():
        # Half a surrogate pair cannot be written as UTF-8: whole pairs are joined, halves become U+FFFD.
        chunk = chunk.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
        chunk = unicodedata.normalize("NFC", chunk).translate(_QUOTES)
    chunk = chunk.replace("``", '"').replace("''", '"').replace("...", "…")
    words: list[str] = []
    start = 0
    for match in _APART.finditer(chunk):
        words += [*_WORD.findall(chunk, start, match.start()), match[0]]
        start = match.end()
    words += _WORD.findall(chunk, start)
    # A special token that a user wrote is cut in two: "xxbos" -> "xx" "bos".
    return [part for w in words for part in ((w[:2], w[2:]) if w.lower() in SPECIAL_TOKENS else (w,))]


def mark_word(word: str) -> tuple[str, ...]:
    """Return the tokens of one word: the word in lower case, after the marker of what that loses.

    "WWII" -> xxup wwii; "Paris" -> xxmaj paris; "!!!" -> xxrep 3 !. A marker stands only where it gives the
    word back exactly ("iPhone" is plain iphone), and never before a single character ("I" -> i).
    """
    lower = word.lower()
    if lower == UNKNOWN_WORD:
        return (UNK,)
    if len(word) >= 3 and _IS_RUN.fullmatch(word):
        return (REP, str(len(word)), lower[0])
    if word == lower or len(word) == 1:
        return (lower,)
    if word == lower.upper():
        return (UP, lower)
    return (MAJ, lower) if word == lower[0].upper() + lower[1:] else (lower,)


def mark_repeats(units: Iterable[tuple[str, ...]]) -> Iterator[tuple[str, ...]]:
    """Replace three or more equal words in a row by "xxwrep n word"; a unit is the tokens of one word."""
    for unit, group in groupby(units):
        n = sum(1 for _ in group)
        if n >= 3 and unit[-1][0].isalnum():
            yield (WREP, str(n), *unit)
        else:
            yield from (unit for _ in range(n))


def _chunk_units(chunk: str) -> tuple[tuple[str, ...], ...]:
    return tuple(map(mark_word, split_chunk(chunk)))


_cached_chunk_units = lru_cache(CACHE_SIZE)(_chunk_units)


def _units(text: str) -> list[tuple[str, ...]]:
    """Return the tokens of a text word by word, repeated words not yet counted."""
    units: list[tuple[str, ...]] = []
    for chunk in fix_text(text).split():
        units += _cached_chunk_units(chunk) if len(chunk) <= CACHED_LENGTH else _chunk_units(chunk)
    return units


def tokenize(text: str) -> list[str]:
    """Return the tokens of a text, BOS first; a text without any visible character gives [BOS].

    Takes every str, in linear time: emoji, control characters (read as spaces), lone surrogates (as U+FFFD).
    Raises TypeError for anything that is no str.
    """
    if not isinstance(text, str):
        raise TypeError(f"tokenize: text must be a str, got {type(text).__name__}")
    units = _units(text)
    if any(map(eq, units, islice(units, 1, None))):  # two equal neighbours are rare: only then look for three
        units = mark_repeats(units)
    return [BOS, *chain.from_iterable(units)]


_OPENING, _CLOSING, _JOINING = frozenset("([{$£€¥#`"), frozenset(".,;:!?)]}%…'"), frozenset("-/")


def detokenize(tokens: Iterable[str]) -> str:
    """Return readable text: markers undone, punctuation attached, xxunk as "<unk>", xxbos and so on dropped.

    Where the spaces were is a guess, but never one that changes the tokens: with t = tokenize(s),
    tokenize(detokenize(t)) == t for every ASCII text s without runs or repeats beyond 9999.
    """
    if isinstance(tokens, str):
        raise TypeError("detokenize: tokens must be a list of str, got one str")
    chunks: list[list[str]] = []
    glue_next = in_quotes = False
    previous = ""
    for word in _spell(tokens):
        glue, glue_next = glue_next or word in _CLOSING or bool(_IS_CLITIC.fullmatch(word)), word in _OPENING
        if word == '"':
            glue, glue_next, in_quotes = in_quotes, not in_quotes, not in_quotes
        elif word in _JOINING:
            glue = glue_next = previous.isalnum()
        elif _IS_RUN.fullmatch(word):  # 1 000 -> 1000, s ooo -> sooo, so !!! -> so!!!, but not "in 000"
            same_kind = previous.isalnum() and previous[-1].isdigit() == word.isdigit()
            glue = glue or same_kind or not word.isalnum()
        if glue and chunks:
            chunks[-1].append(word)
        else:
            chunks.append([word])
        previous = word
    # Glue that another cut would come out of ("Dr" + "." is the one token "Dr.") is replaced by spaces.
    return " ".join(("" if _units("".join(c)) == list(map(mark_word, c)) else " ").join(c) for c in chunks)


def _spell(tokens: Iterable[str]) -> Iterator[str]:
    """Yield the words that tokens stand for, capitals and repeats restored; broken markers are ignored."""
    times, marker, case = {REP: 1, WREP: 1}, "", ""
    for token in tokens:
        if marker and token.isdecimal() and len(token) <= MAX_COUNT_DIGITS:
            times[marker], marker = max(1, int(token)), ""
            continue
        marker = token if token in times else ""
        if token in (UP, MAJ):
            case = token
        if token == UNK or token not in SPECIAL_TOKENS:
            word = {UNK: UNKNOWN_WORD, "i": "I"}.get(token, token)
            word = word.upper() if case == UP else word[:1].upper() + word[1:] if case == MAJ else word
            yield from [word * times[REP]] * times[WREP]
            times, case = {REP: 1, WREP: 1}, ""
