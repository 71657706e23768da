"""Every parser that meets files of strangers, as a function of bytes: for the fuzzer beside it, and for the tests.

A target returns where the bytes were read, or refused in one clear line. Whatever else it raises is a finding, and so
is what takes seconds or a gigabyte.
"""

import io
import tempfile
from functools import cache
from pathlib import Path

from hostile import controls

from minilstm import CheckpointError, load_arrays
from ulmfit.config_files import load_config, save_config
from ulmfit.documents import read_corpus, read_plain_text, read_wikiextractor
from ulmfit.errors import InputError
from ulmfit.fastai.archive import find
from ulmfit.fastai.plain_pickle import read_pickle
from ulmfit.fastai.torch_files import read_state_dict
from ulmfit.model_files import load_model
from ulmfit.tables import read_imdb, read_lines, read_rows, read_trec
from ulmfit.text import SPECIAL_TOKENS, detokenize, tokenize
from ulmfit.vocab import Vocab

LONGEST = 2500  # characters of a refusal
VOCAB = Vocab((*SPECIAL_TOKENS, "the", "cat", "sat"))  # of the model in the corpus of `model`


@cache
def _place():
    return tempfile.TemporaryDirectory(prefix="fuzz-")  # deleted with the last reference to it: at the end


def _file(name, data) -> Path:
    path = Path(_place().name, name)
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(data)
    return path


def _answer(read, *args, **kwargs):
    """What is read, its iterators to their end; None where it is refused as it should be."""
    try:
        made = read(*args, **kwargs)
        return list(made) if hasattr(made, "__next__") else made
    except (InputError, CheckpointError) as error:
        message = str(error)
        assert not controls(message) and len(message) <= LONGEST, f"{len(message)} characters: {message!a:.300}"


def table(data):
    for format in ("csv", "tsv", "jsonl"):
        for row in _answer(read_rows, io.TextIOWrapper(io.BytesIO(data), "utf-8", newline=""), format=format) or ():
            assert row.text.strip() and row.label
    lines = _answer(read_lines, io.TextIOWrapper(io.BytesIO(data), "utf-8", newline=""))
    assert lines is None or all(map(str.strip, lines))


def trec(data):
    for text, coarse, fine in _answer(read_trec, _file("TREC_10.label", data)) or ():
        assert text and fine.startswith(f"{coarse}:")


def documents(data):
    for read in (read_plain_text, read_wikiextractor):
        for document in _answer(read, io.BytesIO(data), min_words=1) or ():
            assert document.strip()


def archive(data):
    """A corpus, a data set and a model in a tar file, which may be gzipped."""
    path = _file("lstm_fwd.tgz", data)
    _answer(read_corpus, path, min_words=1)
    _answer(read_imdb, path)
    _answer(find, path)


def vocabulary(data):
    if vocab := _answer(Vocab.load, _file("vocab.json", data)):
        assert vocab.decode(vocab.encode(vocab.itos)) == list(vocab.itos)
        "".join(vocab.itos).encode()


def config(data):
    if made := _answer(load_config, _file("config.yaml", data)):
        again = _file("again.yaml", b"")
        save_config(made, again)
        assert load_config(again) == made


def arrays(data):
    if made := _answer(load_arrays, _file("model.safetensors", data)):
        assert sum(a.nbytes for a in made[0].values()) <= len(data)


def model(data):
    folder = _file("model/model.safetensors", data).parent
    if not (folder / "vocab.json").exists():
        VOCAB.save(folder / "vocab.json")
    for kind in ("language_model", "classifier"):
        if made := _answer(load_model, folder, kind):
            assert made.model.kind == kind and (made.classes is not None) == (kind == "classifier")


def torch(data):
    if made := _answer(read_state_dict, data, "lstm_fwd.pth"):
        assert sum(a.nbytes for a in made.values()) <= 16 * len(data)  # MAX_SHARING, and bfloat16 becomes float32


def pickle(data):
    try:
        _, end = read_pickle(data)
    except ValueError:  # what it raises, to be made an InputError with the file's name
        return
    assert 0 < end <= len(data)


def tokens(data):
    made = tokenize(data.decode("utf-8", "surrogateescape"))  # bytes that are no UTF-8 become half surrogate pairs
    assert made[0] == "xxbos" and all(made)
    " ".join(made).encode()
    tokenize(detokenize(made))


TARGETS = {
    function.__name__: function
    for function in (table, trec, documents, archive, vocabulary, config, arrays, model, torch, pickle, tokens)
}
