"""The vocabulary: which id a token has. Saved as JSON, and joined with another without moving an id."""

import json
import os
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from .errors import InputError
from .saving import save_text
from .text import SPECIAL_TOKENS, UNK

FORMAT, VERSION = "ulmfit-vocab", 1
UNK_ID = SPECIAL_TOKENS.index(UNK)
MAX_TOKENS = 2_000_000  # WikiText-103 has 267,735 different words; more than this is something else
MAX_FILE_BYTES = 200_000_000
MAX_COMMAS = 3 * MAX_TOKENS  # in the file; most tokens have none of their own
REMEDY = "use a vocab.json that ulmfit has saved"


@dataclass(frozen=True, repr=False)
class Vocab:
    """Tokens and their ids, both ways; never changed after it is made.

    `itos[id]` is a token and `stoi[token]` its id (fastai's and torchtext's names: int to string and back).
    The first ids are SPECIAL_TOKENS, in their order. Raises ValueError for tokens that make no vocabulary.
    """

    itos: tuple[str, ...]
    stoi: dict[str, int] = field(init=False, compare=False)

    def __post_init__(self) -> None:
        itos = tuple(self.itos)
        if fault := _fault(itos):
            raise ValueError(f"Vocab: {fault}")
        object.__setattr__(self, "itos", itos)  # the way to set a field of a frozen dataclass
        object.__setattr__(self, "stoi", {token: id for id, token in enumerate(itos)})

    @classmethod
    def build(
        cls, texts: Iterable[Iterable[str]] | Mapping[str, int], *, max_size: int = 60_000, min_freq: int = 2
    ) -> "Vocab":
        """Make the vocabulary of tokenized texts, or of a Counter of their tokens.

        The special tokens come first, then the most frequent, ties in alphabetical order: the same counts
        always give the same ids. `max_size` counts the special tokens too; a token seen fewer than `min_freq`
        times is left out. fastai v2 takes 60,000 and 3.
        """
        if max_size < len(SPECIAL_TOKENS):
            raise ValueError(f"Vocab.build: max_size must be >= {len(SPECIAL_TOKENS)}, got {max_size}")
        counts = texts if isinstance(texts, Mapping) else _count(texts)
        kept = [(-n, token) for token, n in counts.items() if n >= min_freq and token not in SPECIAL_TOKENS]
        tokens = [token for _, token in sorted(kept)]
        return cls((*SPECIAL_TOKENS, *tokens[: max_size - len(SPECIAL_TOKENS)]))

    def encode(self, tokens: Iterable[str]) -> list[int]:
        """Return the id of each token, UNK_ID for an unknown one."""
        if isinstance(tokens, str):
            raise TypeError("Vocab.encode: tokens must be a list of str, got one str: tokenize it first")
        get = self.stoi.get
        return [get(token, UNK_ID) for token in tokens]

    def decode(self, ids: Iterable[int]) -> list[str]:
        """Return the token of each id; raises IndexError for an id that is not in 0..len-1."""
        ids = list(ids)
        for id in ids:
            if not 0 <= id < len(self):  # a negative id would quietly count from the end
                raise IndexError(f"Vocab.decode: id must be in 0..{len(self) - 1}, got {id}")
        return [self.itos[id] for id in ids]

    def unknown_share(self, tokens: Iterable[str]) -> float:
        """Return the share (0..1) of tokens that `encode` makes unknown; 0 for no tokens at all."""
        ids = self.encode(tokens)
        return ids.count(UNK_ID) / len(ids) if ids else 0.0

    def union(self, other: "Vocab") -> "Vocab":
        """Return self's tokens, ids unmoved, followed by the tokens only `other` has, in other's order.

        This is the vocabulary of fine-tuning: the rows of the pre-trained embedding keep their places, and
        each new row starts as their mean (as in the authors' scripts and fastai). The naive way, a vocabulary
        from the task's text alone, turns words that the pre-training knew and the test uses into xxunk: on
        TREC-6 a public fastai run that did so lost 13 points (83 % accuracy where the paper has 96.4 %).
        """
        return Vocab((*self.itos, *(token for token in other.itos if token not in self.stoi)))

    def rows_in(self, other: "Vocab") -> list[int]:
        """Return, for each token of self, its id in `other`, or -1: where each embedding row comes from."""
        return [other.stoi.get(token, -1) for token in self.itos]

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the vocabulary as JSON, one token a line; the file appears whole or not at all.

        Raises OSError, of this path, as the disk does.
        """
        content = {"format": FORMAT, "version": VERSION, "tokens": self.itos}
        save_text(path, json.dumps(content, ensure_ascii=False, indent=0) + "\n")

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> "Vocab":
        """Read a file that `save` has written; raises InputError for any other."""
        tokens = _read_tokens(Path(path))
        if fault := _fault(tokens):
            raise InputError(f"{path}: not a usable vocabulary: {fault}; {REMEDY}")
        return cls(tuple(tokens))

    def __len__(self) -> int:
        return len(self.itos)

    def __contains__(self, token: object) -> bool:
        return token in self.stoi

    def __repr__(self) -> str:
        return f"Vocab({len(self)} tokens: {', '.join(self.itos[:12])}{', …' if len(self) > 12 else ''})"


def _count(texts: Iterable[Iterable[str]]) -> Counter[str]:
    counts: Counter[str] = Counter()
    for tokens in texts:
        if isinstance(tokens, str):  # its characters would be counted as tokens
            raise TypeError("Vocab.build: each text must be a list of tokens, got a str: tokenize it first")
        counts.update(tokens)
    return counts


def _fault(tokens: Iterable[object]) -> str | None:
    """Say in a few words what keeps `tokens` from being a vocabulary; None if nothing does."""
    tokens = list(tokens)
    if len(tokens) > MAX_TOKENS:
        return f"{len(tokens)} tokens are more than the {MAX_TOKENS} a vocabulary may have"
    seen: set[str] = set()
    for id, token in enumerate(tokens):
        if not isinstance(token, str) or not token:
            return f"token {id} must be a non-empty string, got {token!r:.60}"
        if any("\ud800" <= letter <= "\udfff" for letter in token):
            return f"token {id} holds half a surrogate pair, which UTF-8 cannot write: {token!a:.60}"
        if token in seen:
            return f"token {id} {token!r:.60} is there twice"
        seen.add(token)
    if tuple(tokens[: len(SPECIAL_TOKENS)]) != SPECIAL_TOKENS:
        return f"its first tokens must be {' '.join(SPECIAL_TOKENS)}"
    return None


def _read_tokens(path: Path) -> list[object]:
    """Return the token list of a vocabulary file, its tokens not yet checked."""
    if os.path.exists(path) and not os.path.isfile(path) and not os.path.isdir(path):  # it may never end
        raise InputError(f"{path}: not a vocabulary: a device, a pipe or a socket; {REMEDY}")
    try:
        content = path.read_bytes() if path.stat().st_size <= MAX_FILE_BYTES else None
    except (OSError, ValueError) as error:  # ValueError: a name with a NUL byte
        why = getattr(error, "strerror", error)
        raise InputError(f"{path}: cannot read the vocabulary ({why}); {REMEDY}") from error
    if content is None:
        raise InputError(f"{path}: not a vocabulary: larger than {MAX_FILE_BYTES} bytes; {REMEDY}")
    if content.count(b",") > MAX_COMMAS:  # counted here, before each of them becomes an object of Python
        raise InputError(f"{path}: not a vocabulary: over {MAX_COMMAS} commas; {REMEDY}")
    try:
        data = json.loads(content.decode("utf-8"))
    except UnicodeDecodeError as error:
        raise InputError(f"{path}: not a vocabulary: byte {error.start} is not UTF-8; {REMEDY}") from error
    except (ValueError, RecursionError) as error:  # no JSON, an endless number, brackets nested without end
        raise InputError(f"{path}: not a vocabulary: no JSON ({error}); {REMEDY}") from error
    if not isinstance(data, dict) or data.get("format") != FORMAT:
        raise InputError(f'{path}: not a vocabulary: "format" must be "{FORMAT}"; {REMEDY}')
    if data.get("version") != VERSION:
        found = repr(data.get("version"))
        raise InputError(f"{path}: vocabulary version must be {VERSION}, got {found:.20}; update ulmfit")
    if not isinstance(data.get("tokens"), list):
        raise InputError(f'{path}: not a vocabulary: "tokens" must be a list of strings; {REMEDY}')
    return data["tokens"]
