import json
import os
import stat
import tracemalloc

import numpy as np
import pytest
from problems import same_bits

from minilstm import CheckpointError, load_arrays, load_state_dict, save_arrays, to_state_dict

RNG = np.random.default_rng(0)
AWKWARD = {
    "float16": RNG.standard_normal((2, 3)).astype(np.float16),
    "float32": RNG.standard_normal((2, 3)).astype(np.float32),
    "float64": RNG.standard_normal((2, 3)),
    "int64": np.array([[1, -(2**62)]]),
    "bool": np.array([True, False]),
    "a number": np.array(3.5),
    "a count": np.array(7),
    "empty": np.zeros((0, 4), np.float32),
    "transposed": RNG.standard_normal((2, 3)).T,
    "F order": np.asfortranarray(RNG.standard_normal((3, 4))),
    "every other": RNG.standard_normal((4, 6))[::2, 1::3],
    "backwards": np.arange(5.0)[::-1],
    "not finite": np.array([np.nan, np.inf, -0.0]),
    "weiß.l0 \"'\n": np.ones(1),
}
METADATA = {"epoch": "3", "text": 'ü "quoted"\n', "empty": ""}


@pytest.fixture
def path(tmp_path):
    return tmp_path / "model.safetensors"


def test_what_is_saved_comes_back_bit_for_bit(path):
    save_arrays(path, AWKWARD, METADATA)
    arrays, metadata = load_arrays(path)
    same_bits(arrays, AWKWARD)
    assert metadata == METADATA


def test_big_endian_numbers_come_back_as_the_same_numbers(path):
    save_arrays(path, {"a": np.array([1.5, -2], ">f4")})
    assert load_arrays(path)[0]["a"].tolist() == [1.5, -2]


def test_saving_changes_no_array_and_replaces_an_old_file(path):
    f_order = AWKWARD["F order"].copy(order="F")
    save_arrays(str(path), {"old": np.ones(3)})
    save_arrays(str(path), {"new": f_order})
    assert f_order.flags.f_contiguous and list(load_arrays(str(path))[0]) == ["new"]
    assert load_arrays(path)[1] == {}


def test_a_file_of_the_plain_library_can_be_read(path):
    from safetensors.numpy import save_file

    save_file({"a": np.ones(2)}, path, metadata={"format": "pt"})
    arrays, metadata = load_arrays(path)
    assert arrays["a"].tolist() == [1, 1] and metadata == {"format": "pt"}


def test_the_plain_library_can_read_ours(path):
    from safetensors.numpy import load_file

    save_arrays(path, {"a": AWKWARD["transposed"]})
    assert (load_file(path)["a"] == AWKWARD["transposed"]).all()


@pytest.mark.parametrize("umask, mode", [(0o022, 0o644), (0o077, 0o600), (0o002, 0o664)])
def test_the_file_mode_follows_the_umask(path, umask, mode):
    old = os.umask(umask)
    try:
        save_arrays(path, {"a": np.ones(1)})
    finally:
        os.umask(old)
    assert stat.S_IMODE(path.stat().st_mode) == mode


# --- damage ----------------------------------------------------------------------------------------------------------


def test_a_flip_of_any_byte_is_noticed(path):
    """Every byte of the file, header and metadata and data, with one bit flipped, then with all of them."""
    save_arrays(path, {"weight": np.arange(5.0), "bias": np.ones(2, np.float32)}, {"epoch": "3"})
    body = path.read_bytes()
    for at in range(len(body)):
        for flip in (1 << at % 8, 0xFF):
            path.write_bytes(body[:at] + bytes([body[at] ^ flip]) + body[at + 1 :])
            with pytest.raises(CheckpointError, match="model.safetensors: "):
                load_arrays(path)


@pytest.mark.parametrize("keep", [0, 1, 7, 8, 9, 100, -1])
def test_a_truncated_file_is_named(path, keep):
    save_arrays(path, AWKWARD)
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(CheckpointError, match="model.safetensors: not a safetensors file, or a damaged one"):
        load_arrays(path)


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"PK\x03\x04 a zip file of another library" * 9,
        b"\x80\x02}q\x00." * 20,  # a pickle
        RNG.bytes(500),
        b"\xff" * 500,  # a header of 2**64 - 1 bytes
        (2**40).to_bytes(8, "little") + b"{}",
        (100_000_000).to_bytes(8, "little") + b"{}",
        (2).to_bytes(8, "little") + b"[]",
        (2).to_bytes(8, "little") + b"{}surplus",
        (66).to_bytes(8, "little") + b'{"a":{"dtype":"F32","shape":[99999999999],"data_offsets":[0,4]}}  ' + b"1234",
    ],
)
def test_garbage_is_named_and_no_header_makes_us_reserve_memory(path, body):
    path.write_bytes(body)
    with pytest.raises(CheckpointError, match="model.safetensors: not a safetensors file, or a damaged one"):
        load_arrays(path)


def test_a_header_may_be_as_long_as_the_limit_and_no_longer(path, monkeypatch):
    save_arrays(path, AWKWARD)
    n = int.from_bytes(path.read_bytes()[:8], "little")
    monkeypatch.setattr("minilstm.checkpoint.MAX_HEADER", n)
    load_arrays(path)
    monkeypatch.setattr("minilstm.checkpoint.MAX_HEADER", n - 1)
    with pytest.raises(CheckpointError, match=f"model.safetensors: .*a header of {n} bytes"):
        load_arrays(path)


def test_a_file_larger_than_the_memory_is_named(path):
    """The library panics there. A terabyte of holes takes no place on the disk."""
    header = b'{"a":{"dtype":"U8","shape":[%d],"data_offsets":[0,%d]}}' % (2**40, 2**40)
    path.write_bytes(len(header).to_bytes(8, "little") + header)
    os.truncate(path, 8 + len(header) + 2**40)
    with pytest.raises(MemoryError, match="model.safetensors: Unable to allocate 1.00 TiB"):
        load_arrays(path)


@pytest.mark.parametrize("name", ["model.safetensors", ".model.safetensors.{}.tmp"])
def test_nothing_is_written_through_a_link(name, path, tmp_path):
    (tmp_path / "mine").write_text("precious")
    (tmp_path / name.format(os.getpid())).symlink_to(tmp_path / "mine")
    save_arrays(path, {"a": np.ones(1)})
    assert (tmp_path / "mine").read_text() == "precious" and not path.is_symlink()
    assert sorted(os.listdir(tmp_path)) == ["mine", "model.safetensors"] and load_arrays(path)[0]["a"] == [1]


def test_a_file_that_is_not_there(tmp_path):
    for path in (tmp_path / "nothing", tmp_path):
        with pytest.raises(FileNotFoundError, match=f"{path}: no such file"):
            load_arrays(path)


# --- failures while saving -------------------------------------------------------------------------------------------


def test_a_failure_leaves_the_old_file_and_no_litter(path, monkeypatch):
    save_arrays(path, {"a": np.ones(1)})
    for broken in ("os.replace", "os.fsync", "_read_back"):

        def fail(*args, broken=broken):
            raise OSError(28, f"no space left: {broken}")

        with monkeypatch.context() as m:
            m.setattr(f"minilstm.checkpoint.{broken}", fail)
            with pytest.raises(OSError, match=f"no space left: {broken}"):
                save_arrays(path, {"a": np.zeros(1)})
        assert os.listdir(path.parent) == [path.name]
        assert load_arrays(path)[0]["a"] == [1]


def test_what_the_disk_made_of_it_is_read_back(path, monkeypatch):
    """A disk that keeps other numbers, or more or fewer of them, is found out before the file gets its name."""
    save_arrays(path, {"a": np.ones(99)})
    n = path.stat().st_size
    path.unlink()
    for corrupt in (lambda fd: os.pwrite(fd, b"7", n - 1), lambda fd: os.pwrite(fd, b"7", 20),
                    lambda fd: os.pwrite(fd, b"7", n), lambda fd: os.ftruncate(fd, n - 1)):  # fmt: skip
        monkeypatch.setattr("minilstm.checkpoint.os.fsync", corrupt)
        with pytest.raises(OSError, match="reads back otherwise; check the disk, or use another") as e:
            save_arrays(path, {"a": np.ones(99)})
        assert e.value.filename == str(path) and os.listdir(path.parent) == []


def test_it_is_read_back_from_the_disk_where_the_system_can(path, monkeypatch):
    """What is in the cache can be dropped once it is written, and has to be before it is read."""
    done = []
    for module, name in ((os, "fsync"), (os, "posix_fadvise"), (np, "fromfile")):
        original = getattr(module, name)

        def note(*args, name=name, call=original):
            done.append((name, args[1:]))
            return call(*args)

        monkeypatch.setattr(module, name, note)
    save_arrays(path, {"a": np.ones(99)})
    assert [name for name, _ in done[:3]] == ["fsync", "posix_fadvise", "fromfile"]
    assert done[1][1] == (0, 0, os.POSIX_FADV_DONTNEED)  # of the whole file
    monkeypatch.delattr("os.posix_fadvise")
    save_arrays(path, {"a": np.zeros(99)})
    assert not load_arrays(path)[0]["a"].any()


def test_a_file_is_the_librarys_but_for_the_order_of_the_metadata(path):
    from safetensors.numpy import load, save

    arrays = {name: np.ascontiguousarray(a) for name, a in AWKWARD.items() if a.dtype == np.float64}
    save_arrays(path, arrays)
    ours = path.read_bytes()
    theirs = save(arrays, {"writer": "minilstm", "sha256": "0" * 64})
    assert len(ours) == len(theirs)
    same_bits(load(ours), load(theirs))
    n = 8 + int.from_bytes(ours[:8], "little")
    assert ours[n:] == theirs[n:] and n % 8 == 0


def test_every_array_begins_at_a_multiple_of_its_types_width(path):
    """So that a file can be mapped into memory and its arrays be used where they lie."""
    save_arrays(path, AWKWARD, METADATA)
    data = path.read_bytes()
    n = 8 + int.from_bytes(data[:8], "little")
    entries, end = json.loads(data[8:n]), 0
    del entries["__metadata__"]
    assert n % 8 == 0 and entries.keys() == AWKWARD.keys()
    for name, entry in entries.items():
        begin, next_end = entry["data_offsets"]
        assert begin == end and begin % AWKWARD[name].itemsize == 0
        end = next_end
    assert n + end == len(data)


def test_saving_takes_no_memory_of_its_own(path):
    arrays = {f"a{k}": np.full(10**6, k, np.float32) for k in range(8)}
    tracemalloc.start()
    try:
        save_arrays(path, arrays)
        assert tracemalloc.get_traced_memory()[1] < 2 * 4 * 10**6 + 10**6  # of one array, while it is read back
    finally:
        tracemalloc.stop()
    assert sorted(load_arrays(path)[0]) == sorted(arrays)


@pytest.mark.parametrize("bad", [np.array(["text"]), np.array([None]), np.array([1.0], np.longdouble)])
def test_arrays_that_no_file_can_hold_leave_nothing_behind(path, bad):
    with pytest.raises(TypeError, match="model.safetensors: the format cannot hold these arrays"):
        save_arrays(path, {"a": bad})
    assert os.listdir(path.parent) == []


def test_names_that_no_file_can_hold_leave_nothing_behind(path, monkeypatch):
    for arrays, metadata in (({"__metadata__": np.ones(1)}, {}), ({1: np.ones(1)}, {}), ({}, {"step": 1})):
        with pytest.raises(TypeError, match="model.safetensors: the format cannot hold these arrays .*text"):
            save_arrays(path, arrays, metadata)
    monkeypatch.setattr("minilstm.checkpoint.MAX_HEADER", 10_000)
    with pytest.raises(TypeError, match="these arrays .a header of 1.... bytes"):
        save_arrays(path, {}, {"classes": "x" * 10_000})
    assert os.listdir(path.parent) == []


@pytest.mark.parametrize("key", ["sha256", "writer"])
def test_a_key_of_the_files_own_is_refused(path, key):
    with pytest.raises(ValueError, match=f"model.safetensors: metadata: the key '{key}' is the file's own, choose"):
        save_arrays(path, {"a": np.ones(1)}, {key: "abc"})
    assert os.listdir(path.parent) == []


def test_a_type_that_numpy_does_not_know_is_named(path):
    header = json.dumps({"w": {"dtype": "BF16", "shape": [2], "data_offsets": [0, 4]}}).encode()
    path.write_bytes(len(header).to_bytes(8, "little") + header + bytes(4))
    with pytest.raises(CheckpointError, match="model.safetensors: 'w' is BF16, which NumPy does not know; save it as"):
        load_arrays(path)


def test_a_directory_that_is_not_there(tmp_path):
    with pytest.raises(FileNotFoundError):
        save_arrays(tmp_path / "nowhere" / "model.safetensors", {"a": np.ones(1)})


# --- state dictionaries ----------------------------------------------------------------------------------------------


def test_a_state_dict_is_a_copy():
    params = {"a": np.ones(2, np.float32)}
    state = to_state_dict(params)
    state["a"][...] = 5
    assert params["a"].tolist() == [1, 1]
    load_state_dict(params, state)
    assert params["a"].tolist() == [5, 5] and not np.shares_memory(params["a"], state["a"])


def test_every_mismatch_is_listed_and_nothing_is_loaded():
    params = {"fits": np.zeros(2), "gone": np.zeros(1), "other": np.zeros((2, 3))}
    with pytest.raises(ValueError) as e:
        load_state_dict(params, {"fits": np.ones(2), "other": np.ones((3, 2)), "extra": [1.0]})
    for part in ("gone: missing", "extra: not expected", "other: expected shape (2, 3), got (3, 2)"):
        assert part in str(e.value)
    assert not params["fits"].any()


def test_what_is_no_real_number_is_refused():
    for bad in (np.ones(2, complex), np.array(["a", "b"])):
        with pytest.raises(TypeError, match="the state dictionary's a: expected real numbers, got dtype"):
            load_state_dict({"a": np.zeros(2, np.float32)}, {"a": bad})


@pytest.mark.torch
def test_bfloat16_tensors_come_in_as_float32():
    torch = pytest.importorskip("torch", reason="torch is not installed")
    params = {"a": np.zeros(2, np.float32)}
    load_state_dict(params, {"a": torch.tensor([1.5, -3.0], dtype=torch.bfloat16)})
    assert params["a"].tolist() == [1.5, -3]


@pytest.mark.torch
def test_torch_tensors_are_copied_in_and_arrays_go_out():
    torch = pytest.importorskip("torch", reason="torch is not installed")
    lstm = torch.nn.LSTM(3, 4)
    params = {name: np.zeros(tuple(p.shape), np.float32) for name, p in lstm.named_parameters()}
    load_state_dict(params, lstm.state_dict())
    for name, p in lstm.named_parameters():
        assert (params[name] == p.detach().numpy()).all() and not np.shares_memory(params[name], p.detach().numpy())
    other = torch.nn.LSTM(3, 4)
    other.load_state_dict({name: torch.from_numpy(a) for name, a in to_state_dict(params).items()})
    assert (other.weight_hh_l0 == lstm.weight_hh_l0).all()
