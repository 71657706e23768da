"""The vocabulary by hand, its algebra over drawn token lists, and every file that is not one."""

import json
import os
from collections import Counter
from dataclasses import FrozenInstanceError

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ulmfit import vocab as vocab_module
from ulmfit.errors import InputError
from ulmfit.text import SPECIAL_TOKENS, tokenize
from ulmfit.vocab import UNK_ID, Vocab

N_SPECIAL = len(SPECIAL_TOKENS)
WORDS = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=4)
VOCABS = st.lists(WORDS, unique=True, max_size=12).map(
    lambda words: Vocab((*SPECIAL_TOKENS, *(w for w in words if w not in SPECIAL_TOKENS)))
)


def make(words: str) -> Vocab:
    return Vocab((*SPECIAL_TOKENS, *words.split()))


def test_build_orders_by_frequency_then_alphabet():
    vocab = Vocab.build([["b", "a", "c"], ["c", "b", "a", "c"], ["once"]])
    assert vocab.itos == (*SPECIAL_TOKENS, "c", "a", "b")
    assert vocab.stoi["c"] == N_SPECIAL and len(vocab) == N_SPECIAL + 3


def test_build_limits():
    counts = Counter(a=5, b=4, c=4, d=1)
    assert Vocab.build(counts, max_size=N_SPECIAL + 2).itos[N_SPECIAL:] == ("a", "b")
    assert Vocab.build(counts, min_freq=1).itos[N_SPECIAL:] == ("a", "b", "c", "d")
    assert Vocab.build(counts, min_freq=5).itos[N_SPECIAL:] == ("a",)
    assert Vocab.build([]).itos == Vocab.build(counts, max_size=N_SPECIAL).itos == SPECIAL_TOKENS
    with pytest.raises(ValueError, match="max_size must be >= 9, got 8"):
        Vocab.build(counts, max_size=8)


def test_build_puts_special_tokens_first_however_often_they_occur():
    texts = [tokenize("What is What ?"), tokenize("What is it ?")]
    assert Vocab.build(texts).itos == (*SPECIAL_TOKENS, "what", "?", "is")


@given(st.lists(st.lists(WORDS, max_size=5), max_size=6), st.randoms())
def test_build_depends_on_the_counts_alone(texts, random):
    shuffled = random.sample(texts, len(texts))
    counts = Counter(token for text in texts for token in text)
    assert Vocab.build(texts) == Vocab.build(shuffled) == Vocab.build(counts)


def test_untokenized_text_is_refused():
    with pytest.raises(TypeError, match="tokenize it first"):
        Vocab.build(["one str"])
    with pytest.raises(TypeError, match="tokenize it first"):
        make("a").encode("one str")


def test_encode_decode():
    vocab = make("what is")
    assert vocab.encode(["xxbos", "is", "what", "it"]) == [2, 10, 9, UNK_ID]
    assert vocab.decode([2, 10, 9, 0]) == ["xxbos", "is", "what", "xxunk"]
    assert "is" in vocab and "it" not in vocab and 3 not in vocab


@given(VOCABS)
def test_encode_undoes_decode(vocab):
    ids = list(range(len(vocab)))
    assert vocab.encode(vocab.decode(ids)) == ids


@pytest.mark.parametrize("wrong", [-1, N_SPECIAL + 1, 10**9])
def test_decode_refuses_ids_out_of_range(wrong):
    with pytest.raises(IndexError, match=rf"id must be in 0\.\.{N_SPECIAL}, got {wrong}"):
        make("a").decode([0, wrong])


def test_unknown_share():
    vocab = make("a b")
    assert vocab.unknown_share(["a", "c", "b", "d"]) == 0.5
    assert vocab.unknown_share(iter(["a"])) == 0.0
    assert vocab.unknown_share([]) == 0.0


def test_union_by_hand():
    assert make("b a").union(make("c a d")).itos == (*SPECIAL_TOKENS, "b", "a", "c", "d")


@given(VOCABS, VOCABS)
def test_union_moves_no_id_and_loses_no_token(pretrained, task):
    union = pretrained.union(task)
    assert union.itos[: len(pretrained)] == pretrained.itos
    new = [token for token in task.itos if token not in pretrained]
    assert list(union.itos[len(pretrained) :]) == new
    assert pretrained.union(pretrained) == pretrained


@given(VOCABS, VOCABS)
def test_rows_in_finds_each_token_or_says_minus_one(a, b):
    rows = a.rows_in(b)
    assert len(rows) == len(a)
    for token, row in zip(a.itos, rows, strict=True):
        assert b.itos[row] == token if row >= 0 else token not in b
    assert a.union(b).rows_in(a) == [*range(len(a)), *[-1] * (len(a.union(b)) - len(a))]


def test_a_vocabulary_is_a_value():
    assert make("a b") == make("a b") != make("b a")
    assert len({make("a"), make("a"), make("b")}) == 2
    with pytest.raises(FrozenInstanceError):
        make("a").itos = ()
    assert repr(make("a")).startswith("Vocab(10 tokens: xxunk, xxpad") and "a" in repr(make("a"))
    assert len(repr(make(" ".join(map(str, range(1000)))))) < 200


FAULTS = [
    ([*SPECIAL_TOKENS, "a", "b", "a"], "token 11 'a' is there twice"),
    ([*SPECIAL_TOKENS, "xxpad"], "token 9 'xxpad' is there twice"),
    ([], "first tokens must be xxunk xxpad"),
    (["a", "b"], "first tokens must be xxunk xxpad"),
    (SPECIAL_TOKENS[:-1], "first tokens must be"),
    ([*SPECIAL_TOKENS[::-1], "a"], "first tokens must be"),
    ([*SPECIAL_TOKENS, 7], "token 9 must be a non-empty string, got 7"),
    ([*SPECIAL_TOKENS, None], "token 9 must be a non-empty string, got None"),
    ([*SPECIAL_TOKENS, ["a"]], "token 9 must be a non-empty string"),
    ([*SPECIAL_TOKENS, ""], "token 9 must be a non-empty string, got ''"),
    ([*SPECIAL_TOKENS, "\ud800"], "token 9 holds half a surrogate pair"),
]


@pytest.mark.parametrize("tokens, message", FAULTS)
def test_tokens_that_make_no_vocabulary(tokens, message, tmp_path):
    with pytest.raises(ValueError, match=message):
        Vocab(tuple(tokens))
    path = tmp_path / "vocab.json"
    path.write_text(json.dumps({"format": "ulmfit-vocab", "version": 1, "tokens": tokens}))
    assert message in load_error(path)


def load_error(path) -> str:
    """Return the message of the InputError that loading raises: one line that names the file and a remedy."""
    with pytest.raises(InputError) as caught:
        Vocab.load(path)
    message = str(caught.value)
    assert message.startswith(f"{path}: ") and "; " in message and "\n" not in message and len(message) < 400
    return message


@given(vocab=VOCABS)
def test_save_and_load(vocab, tmp_path_factory):
    path = tmp_path_factory.mktemp("vocab") / "vocab.json"
    vocab.save(path)
    assert Vocab.load(str(path)) == vocab


def test_the_file_is_readable_json_and_replaces_the_old_one(tmp_path):
    path = tmp_path / "vocab.json"
    make("old").save(path)
    make("é 😀").save(path)
    assert json.loads(path.read_text(encoding="utf-8"))["tokens"] == [*SPECIAL_TOKENS, "é", "😀"]
    assert "é" in path.read_text(encoding="utf-8")
    assert os.listdir(tmp_path) == ["vocab.json"]


def test_a_failed_save_leaves_the_old_file_alone(tmp_path, monkeypatch):
    path = tmp_path / "vocab.json"
    make("old").save(path)

    def full_disk(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(vocab_module.os, "replace", full_disk)
    with pytest.raises(OSError, match="No space left on device") as caught:
        make("new").save(path)
    assert caught.value.filename == str(path)  # a disk that is full does not say where
    assert Vocab.load(path) == make("old") and os.listdir(tmp_path) == ["vocab.json"]


def test_save_where_no_file_can_be(tmp_path):
    (tmp_path / "file").write_text("")
    (tmp_path / "folder").mkdir()
    for path in (tmp_path / "missing" / "vocab.json", tmp_path / "file" / "vocab.json", tmp_path / "folder"):
        with pytest.raises(OSError) as caught:
            make("a").save(path)
        assert caught.value.filename == str(path)
    assert sorted(os.listdir(tmp_path)) == ["file", "folder"]  # nothing unfinished is left


@pytest.mark.parametrize(
    "content, message",
    [
        (b"", "no JSON"),
        (b"{", "no JSON"),
        (b"\x80\x04]q\x00", "byte 0 is not UTF-8"),
        (b"[" * 100_000, "no JSON"),
        (b'{"version": ' + b"9" * 5_000 + b"}", "no JSON"),
        (b"[1, 2]", '"format" must be "ulmfit-vocab"'),
        (b"null", '"format" must be'),
        (b'{"format": "other"}', '"format" must be'),
        (b'{"format": "ulmfit-vocab"}', "version must be 1, got None; update"),
        (b'{"format": "ulmfit-vocab", "version": 2}', "version must be 1, got 2; update"),
        (b'{"format": "ulmfit-vocab", "version": 1}', '"tokens" must be a list'),
        (b'{"format": "ulmfit-vocab", "version": 1, "tokens": "abc"}', '"tokens" must be a list'),
    ],
)
def test_files_that_are_no_vocabulary(content, message, tmp_path):
    path = tmp_path / "vocab.json"
    path.write_bytes(content)
    assert message in load_error(path)


def test_files_that_cannot_be_read(tmp_path):
    assert "No such file" in load_error(tmp_path / "missing.json")
    assert "Is a directory" in load_error(tmp_path)


def test_files_of_more_objects_than_tokens_are_not_parsed(tmp_path, monkeypatch):
    make("a").save(tmp_path / "vocab.json")
    commas = (tmp_path / "vocab.json").read_text().count(",")
    monkeypatch.setattr("ulmfit.vocab.MAX_COMMAS", commas)
    assert Vocab.load(tmp_path / "vocab.json") == make("a")
    monkeypatch.setattr("ulmfit.vocab.MAX_COMMAS", commas - 1)
    assert f"over {commas - 1} commas" in load_error(tmp_path / "vocab.json")


def test_a_link_to_a_device_is_refused(tmp_path):
    (tmp_path / "vocab.json").symlink_to("/dev/zero")
    assert "a device, a pipe or a socket" in load_error(tmp_path / "vocab.json")


def test_files_that_are_too_large(tmp_path, monkeypatch):
    path = tmp_path / "vocab.json"
    make("a b c").save(path)
    monkeypatch.setattr(vocab_module, "MAX_TOKENS", 11)
    assert "12 tokens are more than the 11" in load_error(path)
    monkeypatch.setattr(vocab_module, "MAX_FILE_BYTES", 50)
    assert "larger than 50 bytes" in load_error(path)
