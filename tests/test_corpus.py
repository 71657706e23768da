from collections import Counter

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from ulmfit.corpus import Corpus
from ulmfit.text import tokenize
from ulmfit.vocab import UNK_ID, Vocab

TEXTS = ["The cat sat.", "", "the THE cat cat cat cat", "A dog"]
texts = st.lists(st.text(alphabet="abAB .!", max_size=12), max_size=6)


@given(texts=texts)
def test_a_corpus_is_its_tokenized_texts(texts):
    corpus = Corpus(texts)
    tokens = [tokenize(text) for text in texts]
    assert [[corpus.types[n] for n in document] for document in corpus.documents] == tokens
    assert corpus.n_tokens == sum(map(len, tokens)) and len(set(corpus.types)) == len(corpus.types)
    assert corpus.counts() == Counter(token for text in tokens for token in text)


@given(texts=texts, min_freq=st.integers(1, 3))
def test_encoding_all_at_once_is_encoding_text_by_text(texts, min_freq):
    corpus = Corpus(texts)
    vocab = Vocab.build(corpus.counts(), max_size=100, min_freq=min_freq)
    assert vocab == Vocab.build([tokenize(text) for text in texts], max_size=100, min_freq=min_freq)
    documents = corpus.encode(vocab)
    assert [d.tolist() for d in documents] == [vocab.encode(tokenize(text)) for text in texts]
    assert all(d.dtype == np.int32 for d in documents)
    everything = [n for d in documents for n in d.tolist()]
    assert corpus.unknown_share(vocab) == (everything.count(UNK_ID) / len(everything) if everything else 0)


def test_an_unknown_word_is_unk():
    corpus = Corpus(["cat dog"])
    vocab = Vocab.build(Corpus(["cat"]).counts(), min_freq=1)
    assert vocab.decode(corpus.encode(vocab)[0]) == ["xxbos", "cat", "xxunk"]
    assert corpus.unknown_share(vocab) == 1 / 3


def test_a_corpus_is_read_once_and_says_how_far_it_is():
    seen = []
    corpus = Corpus(iter(TEXTS), seen.append)
    assert len(seen) == len(TEXTS) and seen == sorted(seen) and seen[-1] == corpus.n_tokens
    assert len(corpus.documents[1]) == 1  # an empty text is its beginning alone


def test_no_text_at_all():
    corpus = Corpus([])
    vocab = Vocab.build(corpus.counts())
    assert corpus.counts() == Counter() and corpus.encode(vocab) == [] and corpus.unknown_share(vocab) == 0
