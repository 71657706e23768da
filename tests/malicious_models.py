"""Models that would do harm: headers of safetensors, metadata that promise too much, vocabularies."""

import json
import os
import struct

import numpy as np
from attack import Case
from safetensors.numpy import save
from tiny import classifier, language_model

from minilstm import load_arrays, save_arrays
from ulmfit.model_files import save_model
from ulmfit.text import SPECIAL_TOKENS
from ulmfit.vocab import Vocab

PREDICT = ("predict", "who ?", "--model", "{}")
GENERATE = ("generate", "the", "--model", "{}", "--tokens", "5")
COLOUR = "\x1b[31mred\x07"  # a terminal would turn red, and ring
VOCAB = Vocab((*SPECIAL_TOKENS, "cat", "dog", "the"))


def put(place, name, content):
    (place.inside / name).write_bytes(content if isinstance(content, bytes) else content.encode())
    return place.inside / name


def linked(folder, name, target):
    (folder / name).unlink(missing_ok=True)
    (folder / name).symlink_to(target)
    return folder


# --- the model file


def model(place, content=None, vocab=None, *, classes=("a", "b", "c"), words=VOCAB, make=classifier, **about):
    """The folder of a good model, one of its files replaced, or its description changed."""
    made = make(len(words), dtype=np.float32)
    more = {"classes": classes, "stats": made.initial_stats()} if make is classifier else {}
    save_model(place.inside, made, words, "forward", **more)
    path = place.inside / "model.safetensors"
    if about:
        arrays, metadata = load_arrays(path)
        save_arrays(path, arrays, {"minilstm": json.dumps(json.loads(metadata["minilstm"]) | about)})
    for name, new in (("model.safetensors", content), ("vocab.json", vocab)):
        if new is not None:
            put(place, name, new)
    return place.inside


def header(text, data=b"", length=None):
    text = text if isinstance(text, bytes) else text.encode()
    return struct.pack("<Q", len(text) if length is None else length) + text + data


def entry(dtype="F32", shape="[1]", offsets="[0,4]", name="a"):
    return f'"{name}":{{"dtype":"{dtype}","shape":{shape},"data_offsets":{offsets}}}'


FOUR, FEW = b"1234", "{" + ",".join(entry(shape="[0]", offsets="[0,0]", name=n) for n in range(3)) + "}"
HEADERS = {
    "a header of 2 ** 63 bytes": header("{}", length=2**63),
    "a header of 2 ** 64 - 1 bytes": header("{}", length=2**64 - 1),
    "a header longer than the file": header("{}", length=99),
    "a header of 11 MB": header(b"{" + b" " * 11 * 2**20 + b"}"),
    "arrays that overlap": header("{" + entry() + "," + entry(name="b") + "}", FOUR),
    "an array beyond the file": header("{" + entry(shape="[99]", offsets="[0,396]") + "}", FOUR),
    "offsets the wrong way round": header("{" + entry(offsets="[4,0]") + "}", FOUR),
    "negative offsets": header("{" + entry(offsets="[-4,0]") + "}", FOUR),
    "one name twice": header("{" + entry() + "," + entry(offsets="[4,8]") + "}", FOUR * 2),
    "a shape whose product overflows": header("{" + entry(shape="[4294967296,4294967296,4]") + "}", FOUR),
    "a shape of no number": header("{" + entry(shape="[NaN]") + "}", FOUR),
    "a negative shape": header("{" + entry(shape="[-1]") + "}", FOUR),
    "a thousand dimensions": header("{" + entry(shape=str([1] * 1000)) + "}", FOUR),
    "nothing, 2 ** 62 times": header("{" + entry(shape=f"[0,{2**62}]", offsets="[0,0]") + "}"),
    "a dtype of Python objects": header("{" + entry(dtype="|O") + "}", FOUR),
    "brackets without end": header("{" + '"a":[' * 50_000, FOUR),
    "a name with escape codes": header("{" + entry(name="\x1b[2J", shape="[2]") + "}", FOUR),
}
PROMISES = {
    "a model of 10 TB": {"size": {"embedding": 100_000, "hidden": 100_000, "layers": 100, "head": 50}},
    "a hundred thousand layers": {"size": {"embedding": 1, "hidden": 1, "layers": 100_000, "head": 1}},
    "a million classes": {"classes": [str(n) for n in range(400_000)]},
    "one class twice": {"classes": ["a", "a", "b"]},
    "windows of 10 ** 300 words": {"bptt": 10**300},
    "a size that is infinite": {"size": {"embedding": float("inf"), "hidden": 8, "layers": 2, "head": 5}},
    "a kind with escape codes": {"kind": COLOUR},
}


def deep_metadata(place):
    arrays = load_arrays(model(place) / "model.safetensors")[0]
    return model(place, save(arrays, {"minilstm": "[" * 100_000}))


def a_terabyte(place):
    """Of holes: a file that takes no place on the disk."""
    size = 2**40
    path = model(place, header("{" + entry(shape=f"[{size // 4}]", offsets=f"[0,{size}]") + "}")) / "model.safetensors"
    os.truncate(path, path.stat().st_size + size)
    return place.inside


def models():
    for name, content in HEADERS.items():
        yield Case("safetensors", name, lambda place, content=content: model(place, content), PREDICT,
                   "not a safetensors file, or a damaged one")  # fmt: skip
    unknown = header("{" + entry(dtype="F4", shape="[8]") + "}", FOUR)
    yield Case("safetensors", "a dtype that NumPy has not", lambda place: model(place, unknown), PREDICT,
               "which NumPy does not know; save it as float32")  # fmt: skip
    for name, about in PROMISES.items():
        yield Case("safetensors", name, lambda place, about=about: model(place, **about), PREDICT,
                   "its metadata d")  # describe more than there is, or do not describe a model
    yield Case("safetensors", "metadata of brackets without end", deep_metadata, PREDICT, "RecursionError")
    yield Case("safetensors", "a terabyte of holes", a_terabyte, PREDICT, "Unable to allocate 1.00 TiB", apart=True)
    yield Case("safetensors", "a model of 10 TB, in a process", lambda place: model(
        place, **PROMISES["a model of 10 TB"]), PREDICT, "describe a model of at least 4,", apart=True)  # fmt: skip


# --- vocabularies


def vocabularies():
    def tokens(*more):
        listed = ", ".join([*map(json.dumps, SPECIAL_TOKENS), *more])
        return f'{{"format": "ulmfit-vocab", "version": 1, "tokens": [{listed}]}}'

    for name, content in {
        "a token twice": tokens('"a"', '"a"'),
        "half a surrogate pair": tokens('"\\ud800"'),
        "a token that is a list": tokens("[[[]]]"),
        "a number without end": tokens("9" * 10**6),
        "brackets without end": "[" * 10**6,
        "objects without end": '{"a":' * 10**5,
        "seven million lists": tokens(",".join(["[]"] * 7 * 10**6)),
        "a line break in the format": '{"format": "a\\nb\\u001b[2J"}',
    }.items():
        yield Case("json", f"vocabulary: {name}", lambda place, content=content: model(place, vocab=content), PREDICT,
                   "vocab.json: not a ")  # fmt: skip
    yield Case("json", "vocabulary: /dev/zero", lambda place: linked(
        model(place), "vocab.json", "/dev/zero"), PREDICT, "a device, a pipe or a socket")  # fmt: skip
    words = Vocab((*SPECIAL_TOKENS, COLOUR, "a\nb", "\x9b2J"))
    yield Case("json", "vocabulary: words with escape codes", lambda place: model(
        place, words=words, make=language_model), GENERATE, None)  # fmt: skip


MODEL_CASES = [*models(), *vocabularies()]
