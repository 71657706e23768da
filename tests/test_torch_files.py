"""PyTorch's files without torch: the numbers are those of torch, and nothing that a file says is ever executed."""

import io
import pickle
import struct
import sys
import tarfile
import zipfile

import hostile
import numpy as np
import pytest
from hostile import (
    FOUR,
    MAGIC,
    VERSION,
    many,
    named,
    number,
    pickled,
    refused,
    state,
    stream_form,
    tensor,
    text,
    zip_form,
)
from hypothesis import given
from hypothesis import strategies as st
from make_fastai_files import CASES, GOLDEN
from problems import same_bits

from ulmfit.errors import InputError
from ulmfit.fastai import plain_pickle
from ulmfit.fastai.plain_pickle import read_pickle
from ulmfit.fastai.torch_files import read_state_dict

FORMS = {"zip": zip_form, "stream": stream_form}
both_forms = pytest.mark.parametrize("form", FORMS.values(), ids=FORMS)


def read(data):
    return read_state_dict(data, "some.pth")


# --- good files


@both_forms
def test_a_tensor_is_a_piece_of_a_storage(form):
    part = hostile.storage(view=(many(text("7"), number(1), number(2)),))
    views = {
        "whole": tensor(),
        "turned": tensor(strides=(1, 2)),
        "column": tensor(offset=1, shape=(2,), strides=(2,)),
        "last": tensor(offset=3, shape=(), strides=()),
        "old": tensor(function="_rebuild_tensor"),
        "empty": tensor(offset=4, shape=(0, 3), strides=(3, 1)),
        "one_row": tensor(shape=(1, 4), strides=(0, 1)),
        "gpu": tensor(hostile.storage(kind=("torch.cuda", "FloatStorage"))),
        "seen": tensor(part, shape=(2,), strides=(1,)),
        "unseen": tensor(hostile.storage(view=(b"N",))),
        "parameter": hostile.call("torch._utils", "_rebuild_parameter", tensor(), b"\x88", b"}"),
    }
    got = read(form(state(**views)))
    square = np.array([[1, 2], [3, 4]], np.float32)
    want = dict.fromkeys(("whole", "old", "gpu", "unseen", "parameter"), square)
    want |= {"turned": square.T, "column": square[:, 1], "last": square[1, 1], "empty": np.zeros((0, 3), np.float32)}
    want |= {"one_row": square.reshape(1, 4), "seen": square.ravel()[1:3]}
    same_bits(got, {name: np.asarray(a) for name, a in want.items()})
    assert got["whole"].dtype == np.float32
    assert np.shares_memory(got["whole"], got["turned"])  # one storage, read once


@both_forms
@pytest.mark.parametrize("name, code, values", [
    ("Half", "<4e", (1, -0.5, 65504, 2**-24)), ("Float", "<4f", (1, 2, 3, 4)), ("Double", "<4d", (1, 2, 3, 1e300)),
    ("Byte", "<4B", (0, 1, 2, 255)), ("Char", "<4b", (0, 1, 2, -128)), ("Short", "<4h", (0, 1, 2, -(2**15))),
    ("Int", "<4i", (0, 1, 2, -(2**31))), ("Long", "<4q", (0, 1, 2, -(2**63))),
])  # fmt: skip
def test_types_of_numbers(form, name, code, values):
    content = struct.pack(code, *values)
    pickle = state(a=tensor(hostile.storage(kind=("torch", f"{name}Storage"))))
    entries = {"data.pkl": pickle, "data/0": content} if form is zip_form else {"0": (4, content)}
    a = read(form(pickle, entries))["a"]
    assert a.dtype == np.dtype(code[-1]) and a.ravel().tolist() == list(values)


def test_bfloat16_is_the_upper_half_of_float32():
    values = np.array([1, -2.5, 3e38, 1e-30], np.float32)
    halves = (values.view(np.uint32) >> 16).astype("<u2")
    pickle = state(a=tensor(hostile.storage(kind=("torch", "BFloat16Storage")), strides=(1, 2)))
    a = read(zip_form(pickle, {"data.pkl": pickle, "data/0": halves.tobytes()}))["a"]
    np.testing.assert_allclose(a.T.ravel(), values, rtol=2**-7)
    assert a.dtype == np.float32 and not (a.view(np.uint32) & 0xFFFF).any()


@both_forms
def test_the_state_of_an_optimiser_is_passed_over(form):
    """With all that fastai's contain: NumPy's numbers, its own list, a tensor, and numbers as keys."""
    scalar = hostile.call("numpy.core.multiarray", "scalar", named("numpy", "dtype") + many(text("f8")) + b"R",
                          hostile.call("_codecs", "encode", text("x"), text("latin1")))  # fmt: skip
    own_list = named("fastcore.foundation", "L") + b")\x81}" + text("items") + b"]sb"
    opt = b"}" + number(0) + tensor() + b"s" + text("lr") + scalar + b"s" + text("hypers") + own_list + b"s"
    got = read(form(state(model=b"}" + text("a") + tensor() + b"s", opt=opt)))
    assert list(got) == ["a"] and got["a"].tolist() == [[1, 2], [3, 4]]


@both_forms
def test_attributes_of_a_dictionary_change_nothing(form):
    attributes = b"}" + text("__class__") + text("x") + b"s" + text("__setstate__") + number(3) + b"s"
    plain, adorned = (form(state(a=tensor())[:-1] + more + b".") for more in (b"", attributes + b"b"))
    same_bits(read(plain), read(adorned))


# --- what was written by torch itself


def golden(case):
    """{name: content} of the archive, without looking at our own reader"""
    with tarfile.open(GOLDEN / f"{case}.tgz") as tar:
        return {member.name: tar.extractfile(member).read() for member in tar}


@pytest.mark.parametrize("case", CASES)
def test_files_of_torch_as_they_are_stored(case):
    (weights,) = (content for name, content in golden(case).items() if not name.endswith(".pkl"))
    got = read(weights)
    assert {a.dtype for a in got.values()} == {np.dtype(CASES[case].dtype)}
    assert got["0.rnns.1.module.weight_ih_l0"].shape[1] == CASES[case].hidden
    assert got["1.decoder.weight"].tobytes() == got["0.encoder.weight"].tobytes()


@pytest.mark.torch
@pytest.mark.parametrize("new", [True, False], ids=FORMS)
@pytest.mark.parametrize("wrapped", [True, False])
def test_files_of_torch_as_it_is_installed(new, wrapped):
    torch = pytest.importorskip("torch", reason="torch is not installed; the stored files are read all the same")
    torch.manual_seed(0)
    base = torch.randn(6, 4)
    tensors = {"base": base, "same": base, "turned": base.t(), "piece": base[2:5, 1:3], "number": torch.tensor(3.0)}
    tensors |= {"none": torch.zeros(0, 3), "parameter": torch.nn.Parameter(torch.ones(2)), "bf": base.bfloat16().t()}
    for kind in ("float16", "float64", "uint8", "int8", "int16", "int32", "int64"):
        tensors[kind] = (10 * base).to(getattr(torch, kind))
    tensors |= torch.nn.LSTM(3, 4, 2, bidirectional=True).state_dict()
    file = io.BytesIO()
    torch.save({"model": tensors, "opt": {"lr": 0.1, 3: base}} if wrapped else tensors, file,
               _use_new_zipfile_serialization=new)  # fmt: skip
    want = {name: (t.float() if name == "bf" else t).detach().numpy() for name, t in tensors.items()}
    got = read(file.getvalue())
    same_bits(got, want)
    assert {name: a.dtype for name, a in got.items()} == {name: a.dtype for name, a in want.items()}


@pytest.mark.torch
@pytest.mark.parametrize("form, view", [(zip_form, ()), (stream_form, (b"N",))], ids=FORMS)
def test_torch_reads_the_files_made_by_hand(form, view):
    """So that the hostile ones differ from a good one in what makes them hostile, and in nothing else."""
    torch = pytest.importorskip("torch", reason="torch is not installed")
    loaded = torch.load(io.BytesIO(form(state(a=tensor(hostile.storage(view=view))))), weights_only=True)
    assert loaded["a"].tolist() == [[1, 2], [3, 4]]


# --- hostile files


def everywhere(pickle):
    """Refused as a file in both forms, and as a bare pickle such as a list of words -> the three lines"""
    yield refused(read, zip_form(pickle))
    yield refused(read, stream_form(pickle))
    with pytest.raises(ValueError) as caught:
        read_pickle(pickle)
    yield str(caught.value)


NAMES = list(hostile.payloads("x"))


@pytest.mark.parametrize("name", NAMES)
def test_nothing_is_executed(name, tmp_path):
    folder = tmp_path / "made"
    payload = hostile.payloads(folder)[name]
    for message in everywhere(payload):
        assert "is not for plain data" in message
    assert not folder.exists()


@pytest.mark.parametrize("name", NAMES)
def test_the_same_is_executed_elsewhere(name, tmp_path):
    """Else the test above could not fail."""
    folder = tmp_path / "made"
    try:
        pickle.loads(hostile.payloads(folder)[name])
    except Exception:  # whatever comes after the deed
        pass
    assert folder.is_dir()


@pytest.mark.parametrize("program", hostile.FORBIDDEN.values(), ids=hostile.FORBIDDEN)
def test_what_is_more_than_plain_data(program):
    """Beside a good tensor, so that nothing but the program is at fault."""
    assert list(read(zip_form(state(z=tensor(), a=pickled(number(1))[2:-1])))) == ["z"]
    assert "no dictionary of tensors" not in refused(read, zip_form(state(z=tensor(), a=program)))
    refused(read, stream_form(state(z=tensor(), a=program)))
    refused(read, zip_form(pickled(program))), refused(read, zip_form(b"\x80\x02" + program))


@both_forms
@pytest.mark.parametrize("name, complaint", [
    ("a tensor beyond the storage", "goes beyond storage 0 of 4"), ("an offset beyond the storage", "goes beyond"),
    ("a view beyond the storage", "impossible size"), ("a storage of negative size", "impossible size"),
    ("a negative offset", "no sizes"), ("a negative stride", "no sizes"), ("rows that overlap", "overlap"),
    ("one number for all", "overlap"), ("a reference to a folder above", "unknown type or name"),
    ("a reference in foreign digits", "unknown type or name"), ("a storage of two types", "of two types or sizes"),
    ("a storage of two sizes", "of two types or sizes"),
    ("a name of no such thing", "it names os.system"), ("EXT1", "opcode b'\\x82' at byte"),
])  # fmt: skip
def test_what_is_said_of_it(form, name, complaint):
    """The first check that a program meets refuses it, and not one further down by chance."""
    program = hostile.FORBIDDEN.get(name, named("os", "system"))
    assert complaint in refused(read, form(state(z=tensor(), a=program)))


def test_no_module_is_imported():
    assert "antigravity" not in sys.modules
    message = refused(read, zip_form(state(a=named("antigravity", "geohash"))))
    assert "it names antigravity.geohash" in message and "antigravity" not in sys.modules


# --- bombs


STEPS = {
    "dictionaries": b"}", "lists": b"]", "marks": b"(", "nothing": b"N", "memo": b"]\x94", "tuples": b")\x85\x85",
    "texts": b"X\0\0\0\0",
}  # fmt: skip


@pytest.mark.parametrize("step", STEPS.values(), ids=STEPS)
def test_a_program_without_end(step, monkeypatch):
    monkeypatch.setattr(plain_pickle, "MAX_OPCODES", 5000)
    for form in FORMS.values():
        assert "more than 5000 steps" in refused(read, form(b"\x80\x02" + step * 5000 + b"."))


def test_a_program_has_a_million_steps_at_most():
    with pytest.raises(ValueError, match="more than 1000000 steps"):
        read_pickle(b"N" * 1_000_001)


def laughs():
    """Lists, each with ten times the one before: a billion entries, were anyone to walk through the tuple of them."""
    program = b"](" + b"N" * 10 + b"eq\x00"
    for n in range(1, 9):
        program += b"](" + (b"h" + bytes([n - 1])) * 10 + b"eq" + bytes([n])
    return many(program)


@pytest.mark.parametrize("program", [
    pickled(laughs()),
    state(a=laughs()),
    state(model=laughs()),
    pickled(b"}" + laughs() + b"Ns"),
    pickled(laughs() + b"Q"),
    pickled(named("collections", "OrderedDict") + laughs() + b"\x85R"),
    state(a=hostile.call("torch._utils", "_rebuild_tensor_v2", laughs(), laughs(), laughs(), laughs())),
    state(a=tensor(hostile.storage(view=(laughs(),)))),
], ids="alone among model key reference argument tensor view".split())  # fmt: skip
@both_forms
def test_a_billion_laughs(form, program):
    refused(read, form(program))


def test_a_billion_laughs_in_the_head_of_a_stream():
    for magic, version in ((laughs(), VERSION), (MAGIC, laughs()), (laughs(), laughs())):
        refused(read, stream_form(state(a=tensor()), start=pickled(magic) + pickled(version)))
    refused(read, stream_form(state(a=tensor()), little=laughs()))
    refused(read, stream_form(state(a=tensor()), little=laughs() + b"\x85"))


def test_depth_is_no_danger():
    deep, _ = read_pickle(pickled(b"(" * 20_000 + b"t" * 20_000))
    depth = 0
    while deep:
        (deep,), depth = deep, depth + 1
    assert depth == 19_999
    for form in FORMS.values():
        refused(read, form(pickled(b"(" * 3_000 + b"t" * 3_000)))
        refused(read, form(pickled(b"]" * 3_000 + b"a" * 2_999)))


def test_keys_of_one_hash_are_refused():
    """2**61 - 1 is the modulus of Python's hash of integers: a dictionary of its multiples takes quadratic time."""
    multiples = b"".join(number(k * (2**61 - 1)) + b"N" for k in range(1, 5_000))
    assert "small integer" in refused(read, zip_form(pickled(b"}(" + multiples + b"u")))


def test_many_names_for_one_storage_make_no_large_file():
    """Views cost nothing; the importer's copies of them would."""
    row = tensor(hostile.storage(total=10**6), shape=(10**6,), strides=(1,))

    def named_so_often(n):
        return stream_form(state(**{f"t{i}": row for i in range(n)}), {"0": (10**6, bytes(4 * 10**6))})

    assert len(read(named_so_often(8))) == 8
    assert "many times larger than the file" in refused(read, named_so_often(9))


# --- the two forms themselves


def test_a_zip_archive_with_entries_outside_of_it():
    good = {"archive/data.pkl": state(a=tensor()), "archive/data/0": FOUR}
    assert read(zip_form(None, good, root=""))["a"].shape == (2, 2)
    for name in ("/etc/passwd", "../x", "archive/../../x", "archive\\..\\x"):
        assert "outside of it" in refused(read, zip_form(None, good | {name: b"x"}, root=""))


def test_a_zip_archive_that_is_compressed():
    pickle = state(a=tensor(hostile.storage(total=10**8), shape=(10**8,), strides=(1,)))
    bomb = zip_form(pickle, {"data.pkl": pickle, "data/0": bytes(4 * 10**6)}, compression=zipfile.ZIP_DEFLATED)
    assert "compressed" in refused(read, bomb)


def test_a_zip_archive_that_lies_about_its_sizes():
    """An entry is said to be larger than the archive."""
    data = zip_form(state(a=tensor()))
    at = data.rindex(b"PK\x01\x02")  # the entry of data/0 in the table at the end
    for size in (0xFFFFFF, 0xFFFFFFFE):
        lie = bytearray(data)
        lie[at + 20 : at + 28] = struct.pack("<II", size, size)
        refused(read, bytes(lie))


def test_a_zip_archive_of_very_many_entries():
    entries = {"data.pkl": state(a=tensor()), "data/0": FOUR} | {f"x{n}": b"" for n in range(10_000)}
    data = zip_form(None, entries)
    assert "more than 10000 entries" in refused(read, data)


def test_a_zip_archive_whose_entries_lie_beyond_all_addresses():
    """The distance between where its table is said to be and where it is goes into every entry's address."""
    data = bytearray(zip_form(state(a=tensor())))
    at = data.rindex(b"PK\x05\x06")
    for offset in (0, 1, 0xFFFFFFF0):
        data[at + 16 : at + 20] = struct.pack("<I", offset)
        refused(read, bytes(data))


@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_a_zip_archive_with_two_entries_of_one_name():
    file = io.BytesIO(zip_form(state(a=tensor())))
    with zipfile.ZipFile(file, "a") as archive:
        archive.writestr("archive/data/0", FOUR)
    assert "one name" in refused(read, file.getvalue())


@pytest.mark.parametrize("entries, complaint", [
    ({"data/0": FOUR}, "no data.pkl"),
    ({"data.pkl": state(a=tensor())}, "'archive/data/0' must have 16 bytes, it has no"),
    ({"data.pkl": state(a=tensor()), "data/0": FOUR[:-1]}, "must have 16 bytes, it has 15"),
    ({"data.pkl": state(a=tensor()), "data/0": FOUR + b"x"}, "must have 16 bytes, it has 17"),
    ({"data.pkl": state(a=tensor()), "data/0": FOUR, "byteorder": b"big"}, "not little-endian"),
    ({"data.pkl": state(a=number(3)), "data/0": FOUR}, "no dictionary of tensors"),
    ({"data.pkl": pickled(tensor()), "data/0": FOUR}, "no dictionary of tensors"),
])  # fmt: skip
def test_a_zip_archive_that_is_not_quite_torchs(entries, complaint):
    assert complaint in refused(read, zip_form(None, entries))


@pytest.mark.parametrize("change, complaint", [
    ({"little": b"\x89"}, "not little-endian"),
    ({"start": pickled(number(7)) + pickled(VERSION)}, "magic number"),
    ({"start": pickled(MAGIC) + pickled(number(1002))}, "unknown version"),
    ({"storages": {"0": (3, FOUR[:12])}}, "must have 4 numbers"),
    ({"storages": {"0": (3, FOUR)}}, "must have 4 numbers"),
    ({"storages": {"0": (4, FOUR[:12])}}, "must have 4 numbers, and the file ends"),
    ({"storages": {"0": (4, FOUR + b"x")}}, "1 bytes too many"),
    ({"storages": {"0": (-1, b"")}}, "must have 4 numbers"),
    ({"storages": {}}, "list of its storages"),
    ({"storages": {"0": (4, FOUR), "1": (4, FOUR)}}, "list of its storages"),
    ({"keys": ["0", "0"]}, "must have 4 numbers"),
])  # fmt: skip
def test_a_stream_that_is_not_quite_torchs(change, complaint):
    assert complaint in refused(read, stream_form(state(a=tensor()), **change))


@pytest.mark.parametrize("data", [
    b"", b"PK\x03\x04", b"hello", b"\x89HDF\r\n\x1a\n" + bytes(50), pickle.dumps([1]), bytes(100), b"\x80",
    b"\xff" * 99,
], ids="nothing zip text hdf5 pickle zeros half ones".split())  # fmt: skip
def test_another_kind_of_file(data):
    assert "some.pth: not a file of PyTorch that can be read" in refused(read, data)


# --- any damage


def outcome(data):
    """The arrays of a file, or None where it is refused: nothing else may happen."""
    try:
        return read(data)
    except InputError as error:
        assert len(str(error).splitlines()) == 1
        return None


ORIGINALS = {case: next(c for n, c in golden(case).items() if not n.endswith(".pkl")) for case in CASES}


@given(case=st.sampled_from(list(CASES)), cut=st.floats(0, 0.999))
def test_a_file_cut_short_is_refused(case, cut):
    data = ORIGINALS[case]
    assert outcome(data[: int(cut * len(data))]) is None


@given(
    case=st.sampled_from(list(CASES)),
    changes=st.lists(st.tuples(st.floats(0, 1, exclude_max=True), st.integers(0, 255)), min_size=1, max_size=5),
)
def test_a_file_with_changed_bytes_is_read_or_refused(case, changes):
    data = bytearray(ORIGINALS[case])
    for where, value in changes:
        data[int(where * len(data))] = value
    for a in (outcome(bytes(data)) or {}).values():
        assert len(a.tobytes()) == a.nbytes  # all of it can be read


@given(data=st.binary(max_size=300))
def test_any_bytes_are_no_danger(data):
    for form in FORMS.values():
        outcome(form(b"\x80\x02" + data))
    outcome(data), outcome(b"PK\x03\x04" + data), outcome(hostile.START + data)
