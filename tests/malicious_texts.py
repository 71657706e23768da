"""Archives, texts, tables and configurations that would do harm."""

import gzip
import io
import os
import tarfile
import zipfile

import fastai_by_hand
import hostile
from attack import Case
from hostile import stream_form, tensor, zip_form
from malicious_models import COLOUR, put

IMPORT = ("import-fastai", "{}", "--out", "{out}")
CORPUS = ("lr-find", "--stage", "pretrain", "--text", "{}", "--out", "{out}/lr.png")
RUN = ("lr-find", "{}", "--out", "{out}/lr.png")
CONFIG = ("run", "--config", "{}", "--out", "{out}")


# --- tar archives: each for a corpus and for a model of fastai


def tar(path, *members, good=True):
    """A gzipped archive of a good model, or of nothing, and these members: (fields of a TarInfo, content)."""
    files = {"lstm_fwd.pth": fastai_by_hand.pth(fastai_by_hand.arrays()), "itos.pkl": b"\x80\x02].", "t": b"a text\n"}
    with tarfile.open(path, "w:gz", format=tarfile.GNU_FORMAT) as archive:
        for fields, content in [*(({"name": n}, c) for n, c in files.items() if good), *members]:
            info = tarfile.TarInfo()
            for name, value in {"size": len(content), **fields}.items():
                setattr(info, name, value)
            archive.addfile(info, io.BytesIO(content))
    return path


PAYLOAD = b"<doc id=1>\nnobody asked for this\n</doc>\n"
OUTSIDE, NOT_PLAIN = "has a member outside of it", "is no plain file"
MEMBERS = {  # of which a model of fastai has none, and a corpus takes the texts alone
    "above": ({"name": "../outside/made"}, PAYLOAD, OUTSIDE),
    "above, by detours": ({"name": "a/../../outside/made"}, PAYLOAD, OUTSIDE),
    "at an absolute path": ({"name": "{outside}/made"}, PAYLOAD, OUTSIDE),
    "that is a link out": ({"name": "a.pth", "type": tarfile.SYMTYPE, "linkname": "{outside}/kept"}, b"", NOT_PLAIN),
    "that is a second name": ({"name": "a.pth", "type": tarfile.LNKTYPE, "linkname": "{outside}/kept"}, b"", NOT_PLAIN),
    "that is a device": ({"name": "a.pth", "type": tarfile.CHRTYPE, "devmajor": 1, "devminor": 5}, b"", NOT_PLAIN),
    "that is a pipe": ({"name": "a.pth", "type": tarfile.FIFOTYPE}, b"", NOT_PLAIN),
    "with escape codes": ({"name": f"{COLOUR}\n.pth/.."}, PAYLOAD, OUTSIDE),
}


def record(keyword, value):
    """One of a pax header, which begins with its own length."""
    rest = f" {keyword}={value}\n"
    return next(f"{n}{rest}" for n in range(9999) if n == len(f"{n}{rest}")).encode()


RECORDS = {  # of the pax header before a member
    "a length of 20 digits": b"9" * 20 + b" a=b\n",
    "holes that are no numbers": record("GNU.sparse.map", "x,y"),
    "a size of 5,000 digits": record("GNU.sparse.size", "9" * 5000),
}


def pax(path, content):
    return tar(path, ({"name": "x", "type": tarfile.XHDTYPE}, content), ({"name": "a"}, b""), good=False)


def with_paths(place, fields):
    return {k: v.replace("{outside}", str(place.outside)) if isinstance(v, str) else v for k, v in fields.items()}


def sparse(place, name="fwd.tar"):
    """One member of a terabyte of holes, in GNU's first form of them: its header says where the data are."""
    info = tarfile.TarInfo("train/pos/1_9.txt")
    header = bytearray(info.tobuf(tarfile.GNU_FORMAT))
    header[156:157] = tarfile.GNUTYPE_SPARSE
    header[483:495] = b"\x80" + (2**40).to_bytes(11, "big")  # its size with the holes
    header[148:156] = b"%06o\0 " % (sum(header[:148]) + 8 * ord(" ") + sum(header[156:]))
    return put(place, name, bytes(header) + bytes(1024))


def zeros(place, name, n):
    """n bytes that gzip writes as a thousandth."""
    with gzip.open(place.inside / name, "wb", compresslevel=1) as file:
        for _ in range(n // 10**6):
            file.write(bytes(10**6))
    return place.inside / name


def tars():
    for name, (fields, content, says) in MEMBERS.items():
        yield Case("tar", f"model: a member {name}", lambda place, f=fields, c=content: tar(
            place.inside / "fwd.tgz", (with_paths(place, f), c)), IMPORT, says)  # fmt: skip
        yield Case("tar", f"corpus: a member {name}", lambda place, f=fields, c=content: tar(
            place.inside / "wiki.tgz", (with_paths(place, f), c), good=False), CORPUS, "no document")  # fmt: skip
    for kind, command, holes, zeros in (
        ("model", IMPORT, "unfolds to", "unfolds to"), ("corpus", CORPUS, "is a file with holes", "unfolds to"),
    ):  # fmt: skip
        yield Case("tar", f"{kind}: a terabyte of holes", sparse, command, holes)
        yield Case("tar", f"{kind}: headers for headers", lambda place: put(
            place, "fwd.tar", hostile.tar_of_names(3000)), command, "damaged or incomplete")  # fmt: skip
        for name, content in RECORDS.items():
            yield Case("tar", f"{kind}: {name}", lambda place, c=content: pax(
                place.inside / "fwd.tgz", c), command, "damaged or incomplete")  # fmt: skip
        yield Case("tar", f"{kind}: 150 MB of zeros", lambda place: tar(
            place.inside / "fwd.tgz", ({"name": "a.pth"}, bytes(150 * 10**6)), good=False), command, zeros, apart=True)
    empty = tarfile.TarInfo("a").tobuf()
    yield Case("tar", "corpus: 190,000 members in half a megabyte", lambda place: put(
        place, "x.tgz", gzip.compress(empty * 190_000)), CORPUS, "has over 2", apart=True)  # fmt: skip
    yield Case("tar", "corpus: names with escape codes", lambda place: tar(
        place.inside / "x.tgz", ({"name": f"{COLOUR}\n\x9b2J"}, b"caf\xe9"), good=False), CORPUS, r"\x9b2J:1: ")


# --- zip archives and gzip


def zips():
    good = hostile.state(a=tensor())
    entries = {"data.pkl": good, "data/0": bytes(2 * 10**7)}
    for name, content, says in (
        ("a bomb", zip_form(good, entries, compression=zipfile.ZIP_DEFLATED), "is compressed"),
        ("an entry above", zip_form(good, {"data.pkl": good, "../../outside/made": b"x"}), "an entry outside of it"),
        ("an entry at an absolute path", zip_form(good, {"/tmp/made": b"x"}, root=""), "an entry outside of it"),
        ("entries without end", zip_form(good, {f"data/{n}": b"" for n in range(11_000)}), "more than 10000 entries"),
        ("a storage that is not there", zip_form(good, {"data.pkl": good}), "must have 16 bytes, it has no"),
    ):
        yield Case("zip", name, lambda place, c=content: fastai_by_hand.folder(place.inside, c), IMPORT, says)
    huge = hostile.state(a=tensor(hostile.storage(total=2**38), shape=(2**38,), strides=(1,)))
    yield Case("zip", "a storage of a terabyte", lambda place: fastai_by_hand.folder(place.inside, stream_form(huge)),
               IMPORT, "many times larger than the file")  # fmt: skip
    yield Case("zip", "a gigabyte of zeros, gzipped", lambda place: zeros(place, "t.gz", 10**9), CORPUS,
               "this line has over 200,000,000 bytes", apart=True)  # fmt: skip


# --- YAML


def configurations():
    lines = ["l0: &l0 [a, a]", *(f"l{n}: &l{n} [*l{n - 1}, *l{n - 1}]" for n in range(1, 60))]
    merges = ["l0: &l0 {a: 1}", *(f"l{n}: &l{n} {{<<: [*l{n - 1}, *l{n - 1}]}}" for n in range(1, 60))]
    for name, text, says in (
        ("a call of os.mkdir", "dataset: !!python/object/apply:os.mkdir [{made}]", "python/object/apply:os.mkdir"),
        ("an object", "dataset: !!python/object/new:subprocess.Popen [[mkdir, {made}]]", "could not determine a"),
        ("a module", "dataset: !!python/module:this", "could not determine a constructor"),
        ("a name of Python", "dataset: !!python/name:os.system", "could not determine a constructor"),
        ("a class", 'dataset: !!python/object/new:type {args: ["z", [], {}]}', "could not determine a constructor"),
        ("aliases that double", "\n".join(lines), "found an alias"),
        ("merges that double", "\n".join(merges), "found an alias"),
        ("brackets without end", "seed: " + "[" * 29_000, "too many levels"),
        ("mappings without end", "seed: " + "{a: " * 7_000, "too many levels"),
        ("an integer of 29,000 digits", "seed: 0x" + "f" * 29_000, "an integer too large"),
        ("an integer in base 60", "seed: 1" + ":59" * 9_000, "an integer too large"),
        ("a number that is infinite", "seed: 1.0e+400", "seed: expected a whole number, got inf"),
        ("a key with escape codes", '"\\e[31m\\a\\u202e": 1', r"unknown key '\x1b[31m\x07\u202e'"),
        ("a key of 29,000 letters", "? " + "a" * 29_000 + "\n: 1", "unknown key 'aaa"),
        ("a path with escape codes", 'dataset: "\\e[31m\\a\\n.csv"', "no such file"),
        ("a megabyte", "#" * 10**6, "over 30,000 bytes"),
        ("a set and a date", "? !!set {a, b}\n: 2001-01-01", "unhashable key"),
    ):
        yield Case("yaml", name, lambda place, text=text: put(
            place, "c.yaml", text.replace("{made}", str(place.made))), CONFIG, says)  # fmt: skip


# --- tables


def tables():
    columns = ",".join(f"c{n}" for n in range(3 * 10**5))
    for name, file, text, says in (
        ("a header of 300,000 columns", "t.csv", columns + "\nx\n", "no column 'text'"),
        ("a header of one name", "t.csv", "x," * 10**6 + "\n", "column 'x' occurs twice"),
        ("a quote without end", "t.csv", 'text,label\n"' + "a,\n" * 10**6, "t.csv:2: not a well-formed csv row"),
        ("columns with escape codes", "t.csv", f"{COLOUR},\u202e\nx,y\n", r"seen: \x1b[31mred\x07, \u202e;"),
        ("a label with escape codes", "t.csv", "text,label\n" + f"x,{COLOUR}\n" * 9, r"the label '\x1b[31mred\x07'"),
        ("brackets without end", "t.jsonl", '{"text": ' + "[" * 10**6, "t.jsonl:1: not valid JSON"),
        ("objects without end", "t.jsonl", '{"text":' * 10**5, "t.jsonl:1: not valid JSON"),
        ("a number without end", "t.jsonl", '{"text": "x", "label": ' + "9" * 10**6 + "}", "t.jsonl:1: not valid JSON"),
        ("a nested label", "t.jsonl", '{"text": "x", "label": ' + "[" * 500 + "]" * 500 + "}", "is of type list"),
        ("a label that is infinite", "t.jsonl", '{"text": "x", "label": 1e999}\n' * 9, "every row has the label 'inf'"),
        ("NUL bytes", "t.tsv", "text\tlabel\n" + "\0" * 10**6, "t.tsv:2: found a NUL byte"),
    ):
        yield Case("table", name, lambda place, file=file, text=text: put(place, file, text), RUN, says)
    yield Case("table", "a pipe that nobody writes to", pipe, RUN, "a device, a pipe or a socket")
    yield Case("table", "/dev/zero as a corpus", lambda _: "/dev/zero", CORPUS, "a device, a pipe or a socket")


def pipe(place):
    os.mkfifo(place.inside / "t.csv")
    return place.inside / "t.csv"


TEXT_CASES = [*tars(), *zips(), *configurations(), *tables()]
