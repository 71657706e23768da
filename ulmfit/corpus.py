"""A large text, tokenised once and kept as numbers.

Nine million words as Python strings would be half a gigabyte. Each distinct word is kept once, in the order of its
first appearance, and every document is an array of positions in that list; a vocabulary then maps all of it at once.
"""

from collections import Counter
from collections.abc import Callable, Iterable
from pathlib import Path

import numpy as np

from .tables import is_table_path
from .text import tokenize
from .vocab import Vocab


def note_a_table(name, progress):
    """Of a file that is read as running text."""
    if is_table_path(name) and Path(name).is_file():
        progress.message(f"note: {name} looks like a table and is read as plain text, its commas and labels too")


class Corpus:
    """types: the distinct tokens. documents: integer arrays of positions in `types`, one per document."""

    def __init__(self, texts: Iterable[str], progress: Callable[[int], None] | None = None):
        """progress, if given, is called with the number of tokens so far after every document."""
        position: dict[str, int] = {}
        self.documents: list[np.ndarray] = []
        self.n_tokens = 0
        for text in texts:
            ids = [position.setdefault(token, len(position)) for token in tokenize(text)]
            self.documents.append(np.array(ids, np.int32))
            self.n_tokens += len(ids)
            if progress is not None:
                progress(self.n_tokens)
        self.types = list(position)

    def counts(self) -> Counter:
        """How often each token occurs."""
        if not self.documents:
            return Counter()
        total = np.bincount(np.concatenate(self.documents), minlength=len(self.types))
        return Counter(dict(zip(self.types, total.tolist(), strict=True)))

    def encode(self, vocab: Vocab) -> list[np.ndarray]:
        """The documents as word ids of `vocab`, int32."""
        ids = np.array(vocab.encode(self.types), np.int32)
        return [ids[document] for document in self.documents]

    def unknown_share(self, vocab: Vocab) -> float:
        """The share of running words that `vocab` does not know, 0..1."""
        counts = self.counts()
        unknown = sum(n for token, n in counts.items() if token not in vocab)
        return unknown / max(1, self.n_tokens)
