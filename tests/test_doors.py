"""Nonsense at any door of the two packages: an error that says what was expected, and never a look beyond an array, a
file that is closed, or a crash. Each call is a good one in which one argument is replaced by whatever is drawn."""

import os

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

import minilstm
from minilstm import LSTM, BatchNorm, CheckpointError, Embedding, Linear, LSTMStack, LSTMState, load_arrays
from ulmfit.config_files import load_config
from ulmfit.datasets import load_corpus, load_dataset
from ulmfit.documents import read_corpus, read_plain_text, read_wikiextractor
from ulmfit.errors import InputError
from ulmfit.fastai import import_fastai
from ulmfit.model_files import load_model
from ulmfit.splits import stratified_split, stratified_subset
from ulmfit.tables import read_imdb, read_lines, read_rows, read_trec
from ulmfit.text import SPECIAL_TOKENS, detokenize, tokenize
from ulmfit.vocab import Vocab

RNG, F = np.random.default_rng(0), np.float32
X, Y, STATE = np.ones((3, 2, 4), F), np.ones((3, 2, 5), F), LSTMState(np.zeros((2, 5), F), np.zeros((2, 5), F))
IDS, ROWS, TARGETS = np.zeros((3, 2), np.int64), np.ones((2, 4), F), np.zeros(2, np.int64)
LAYER, NORM, WORDS, LINEAR = LSTM(4, 5, rng=RNG), BatchNorm(4), Embedding(6, 4, rng=RNG), Linear(4, 3, rng=RNG)
STATS = NORM.initial_stats()
ON_ARRAYS = {
    "LSTM": (LAYER.forward, X, STATE),
    "LSTM, lengths": (lambda lengths: LAYER.forward(X, lengths=lengths), np.array([3, 1])),
    "LSTM, mask": (lambda mask: LAYER.forward(X, weight_hh_mask=mask), np.ones((20, 5), F)),
    "LSTM, backward": (lambda dy: LAYER.backward(dy, None, LAYER.forward(X)[2]), Y),
    "a state of the LSTM": (lambda h: LAYER.forward(X, LSTMState(h, STATE.c)), STATE.h),
    "LSTMStack": (LSTMStack(4, [5, 3], rng=RNG).forward, X),
    "Embedding": (WORDS.forward, IDS),
    "Embedding, backward": (lambda dy: WORDS.backward(dy, WORDS.forward(IDS)[1]), X),
    "Linear": (LINEAR.forward, ROWS),
    "Linear, backward": (lambda dy: LINEAR.backward(dy, LINEAR.forward(ROWS)[1]), np.ones((2, 3), F)),
    "BatchNorm": (lambda x: NORM.forward(x, STATS, training=True), ROWS),
    "dropout": (minilstm.dropout_forward, X, np.ones((1, 2, 4), F)),
    "pooling": (minilstm.concat_pool_forward, X, np.array([3, 1])),
    "loss": (minilstm.softmax_cross_entropy_forward, ROWS, TARGETS),
    "fused loss": (minilstm.linear_cross_entropy, ROWS, np.ones((6, 4), F), np.zeros(6, F), TARGETS),
    "AR": (minilstm.activation_regularization_forward, X, 1.0),
}
dtypes = st.sampled_from([np.float16, np.float32, np.float64, np.int8, np.int64, np.uint64, bool, complex])
strange_arrays = hnp.arrays(dtypes, hnp.array_shapes(min_dims=0, max_dims=4, min_side=0, max_side=6)) | st.sampled_from(
    [np.array(["text"]), np.array([None]), np.full((3, 2, 4), np.nan, F), X.transpose(1, 0, 2), X[:, ::-1], X[:, :0]]
)
numbers = st.integers() | st.floats() | st.booleans()
strange_values = st.none() | numbers | st.text(max_size=4) | st.binary(max_size=4) | st.lists(numbers, max_size=3)


def replaced(data, arguments, strange):
    arguments = list(arguments)
    arguments[data.draw(st.integers(0, len(arguments) - 1))] = data.draw(strange)
    return arguments


@pytest.mark.filterwarnings("ignore::RuntimeWarning")  # what is drawn may overflow
@pytest.mark.parametrize("name", list(ON_ARRAYS))
@given(data=st.data())
def test_an_array_that_does_not_fit_is_refused_by_name(name, data):
    call, *arguments = ON_ARRAYS[name]
    try:
        call(*replaced(data, arguments, strange_arrays))
    except (TypeError, ValueError) as error:
        assert str(error).strip()
    except IndexError as error:  # ids and targets beyond the table: said before anything is looked up
        assert ": expected ids in 0.." in str(error)


@pytest.fixture(scope="module")
def good(tmp_path_factory):
    path = tmp_path_factory.mktemp("doors")
    (path / "t.csv").write_text("text,label\n" + "x,a\ny,b\n" * 9)
    (path / "t.txt").write_text("HUM:x a text\n")
    table, text, vocab = str(path / "t.csv"), str(path / "t.txt"), Vocab((*SPECIAL_TOKENS, "a"))
    return {
        "read_rows": (lambda p, t, e: read_rows(p, text_column=t, encoding=e), table, "text", "utf-8"),
        "read_lines": (lambda p, e: read_lines(p, encoding=e), text, "utf-8"),
        "read_trec": (read_trec, text), "read_imdb": (read_imdb, text), "load_config": (load_config, text),
        "read_corpus": (lambda p, n, e: list(read_corpus(p, min_words=n, encoding=e)), text, 1, "utf-8"),
        "read_plain_text": (lambda p: list(read_plain_text(p)), text),
        "read_wikiextractor": (lambda p: list(read_wikiextractor(p)), text),
        "load_dataset": (lambda p, s, n: load_dataset(p, seed=s, n_train=n), table, 1, 8),
        "load_corpus": (lambda p, s: list(load_corpus(p, split=s)), text, "train"),
        "load_model": (load_model, str(path), "classifier"), "load_arrays": (load_arrays, table),
        "import_fastai": (import_fastai, text, str(path / "out")),
        "Vocab": (Vocab, SPECIAL_TOKENS), "Vocab.load": (Vocab.load, text), "encode": (vocab.encode, ["a"]),
        "Vocab.build": (lambda t, n, f: Vocab.build(t, max_size=n, min_freq=f), [["a"]], 20, 1),
        "tokenize": (tokenize, "a"), "detokenize": (detokenize, ["a"]),
        "stratified_split": (stratified_split, ["a", "b"] * 9, 0.1, 1),
        "stratified_subset": (stratified_subset, ["a", "b"] * 9, 4, 1),
    }  # fmt: skip


NAMES = ["read_rows", "read_lines", "read_trec", "read_imdb", "load_config", "read_corpus", "read_plain_text",
         "read_wikiextractor", "load_dataset", "load_corpus", "load_model", "load_arrays", "import_fastai", "Vocab",
         "Vocab.load", "encode", "Vocab.build", "tokenize", "detokenize", "stratified_split", "stratified_subset"]


@pytest.mark.parametrize("name", NAMES)
@given(data=st.data())
def test_a_value_of_another_kind_is_refused(name, good, data):
    call, *arguments = good[name]
    try:
        call(*replaced(data, arguments, strange_values))
    except (TypeError, ValueError, CheckpointError, FileNotFoundError) as error:  # an InputError is a ValueError
        assert str(error).strip()
    os.fstat(1)  # a number is a file that is open: none was closed


@pytest.mark.parametrize("path", ["/dev/zero", "empty folder", "\0", "x" * 5000, "a\nb"])
@pytest.mark.parametrize("read", [
    read_rows, read_lines, read_trec, read_imdb, read_corpus, read_plain_text, read_wikiextractor, load_config,
    load_dataset, Vocab.load, lambda path: load_model(path, "classifier"),
])  # fmt: skip
def test_a_path_that_leads_to_no_file_is_refused_in_one_line(read, path, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "empty folder").mkdir()
    with pytest.raises(InputError) as caught:
        list(read(path))
    assert "\n" not in str(caught.value) and len(str(caught.value)) < 2500
