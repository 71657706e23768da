"""Files of PyTorch written by hand, good and hostile ones: an assembler of pickles, and the two forms around them."""

import io
import signal
import struct
import tarfile
import time
import tracemalloc
import unicodedata
import zipfile

from ulmfit.errors import InputError

# --- an assembler: each gives the bytes that leave its value on the stack


def text(value):
    data = value.encode("utf-8", "surrogatepass")
    return b"X" + struct.pack("<I", len(data)) + data


def number(n):
    data = n.to_bytes(n.bit_length() // 8 + 1, "little", signed=True)
    return b"\x8a" + bytes([len(data)]) + data


def many(*values):
    return b"(" + b"".join(values) + b"t"


def named(module, name):
    return f"c{module}\n{name}\n".encode()


def call(module, name, *arguments):
    return named(module, name) + many(*arguments) + b"R"


def numbers(values):
    return many(*map(number, values))


def storage(key="0", kind=("torch", "FloatStorage"), total=4, word="storage", view=()):
    return many(text(word), named(*kind), text(key), text("cpu"), number(total), *view) + b"Q"


def tensor(where=None, offset=0, shape=(2, 2), strides=(2, 1), function="_rebuild_tensor_v2"):
    arguments = [storage() if where is None else where, number(offset), numbers(shape), numbers(strides)]
    return call("torch._utils", function, *arguments, b"\x89", call("collections", "OrderedDict"))


def state(**values):
    return b"\x80\x02}(" + b"".join(text(name) + value for name, value in values.items()) + b"u."


def pickled(value):
    return b"\x80\x02" + value + b"."


# --- the two forms

FOUR = struct.pack("<4f", 1, 2, 3, 4)  # the storage "0" of the tensors above
MAGIC, VERSION = number(0x1950A86A20F9469CFC6C), number(1001)
START = pickled(MAGIC) + pickled(VERSION)


def zip_form(pickle, entries=None, *, root="archive", compression=zipfile.ZIP_STORED):
    file = io.BytesIO()
    entries = {"data.pkl": pickle, "data/0": FOUR} if entries is None else entries
    with zipfile.ZipFile(file, "w", compression) as archive:
        if root:
            archive.writestr(f"{root}/version", b"3\n")
        for name, content in entries.items():
            archive.writestr(f"{root}/{name}" if root else name, content)
    return file.getvalue()


def stream_form(pickle, storages=None, *, little=b"\x88", start=START, keys=None):
    storages = {"0": (4, FOUR)} if storages is None else storages
    machine = b"\x80\x02}" + text("little_endian") + little + b"s."
    keys = pickled(b"](" + b"".join(map(text, storages if keys is None else keys)) + b"e")
    return start + machine + pickle + keys + b"".join(struct.pack("<q", n) + data for n, data in storages.values())


def tar_of_names(n, kind=tarfile.GNUTYPE_LONGNAME):
    """A tar archive of nothing but n headers for the member after them, which Python reads each inside the last."""
    header = tarfile.TarInfo("././@LongLink")
    header.type, header.size = kind, 1
    return (header.tobuf(tarfile.GNU_FORMAT) + b"x".ljust(tarfile.BLOCKSIZE, b"\0")) * n + bytes(2 * tarfile.BLOCKSIZE)


# --- what a refusal must be like


def controls(text):
    """The characters of a text on which a terminal would act: it must print none of them."""
    return {c for c in text if unicodedata.category(c) in ("Cc", "Cs", "Zl", "Zp") or c in "\u202a\u202d\u202e\u2067"}


SECONDS, BYTES, PATIENCE = 1.0, 30e6, 20


def refused(read, *arguments):
    """The one line in which something is refused; quickly, without taking memory, and without waiting."""

    def give_up(*_):
        raise AssertionError(f"still waiting after {PATIENCE} s")

    before = signal.signal(signal.SIGALRM, give_up)
    signal.alarm(PATIENCE)
    tracemalloc.start()
    start = time.process_time()
    try:
        read(*arguments)
    except InputError as error:
        message = str(error)
    else:
        raise AssertionError("was not refused")
    finally:
        seconds, (_, most) = time.process_time() - start, tracemalloc.get_traced_memory()
        tracemalloc.stop()
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)
    assert seconds < SECONDS and most < BYTES, f"{seconds:.1f} s, {most / 1e6:.0f} MB: {message:.100}"
    assert len(message.splitlines()) == 1 and message.isprintable() and len(message) < 2500
    return message


# --- pickles that would run code, and others that want what no plain data need


def payloads(folder):
    """{name: a pickle that makes `folder` where Python's own loader reads it}"""
    act = text(f"__import__('os').mkdir({str(folder)!r})")
    run = call("builtins", "exec", act)
    lazy = many(named("builtins", "exec"), b"](" + act + b"e")
    return {
        "exec": pickled(run),
        "os.mkdir": pickled(call("os", "mkdir", text(str(folder)))),
        "exec among good tensors": state(a=run, b=tensor()),
        "exec as the optimiser's state": state(opt=run, model=b"}" + text("a") + tensor() + b"s"),
        "exec as a dictionary's key": pickled(b"}" + run + b"Ns"),
        "exec in the argument of what is allowed": pickled(call("collections", "OrderedDict", b"](" + run + b"e")),
        "exec in an object's attributes": pickled(call("types", "SimpleNamespace") + b"}" + text("x") + run + b"sb"),
        "exec by STACK_GLOBAL": b"\x80\x04" + text("builtins") + text("exec") + b"\x93" + act + b"\x85R.",
        "a dotted name": b"\x80\x04" + text("os") + text("path.os.mkdir") + b"\x93" + text(str(folder)) + b"\x85R.",
        "exec by INST": b"(" + act + b"ibuiltins\nexec\n.",
        "exec by OBJ": b"(" + named("builtins", "exec") + act + b"o.",
        "map by NEWOBJ": pickled(named("builtins", "list") + named("builtins", "map") + lazy + b"\x81\x85R"),
        "a chain of getattr": pickled(
            call("builtins", "getattr", call("importlib", "import_module", text("builtins")), text("exec"))
            + act + b"\x85R"
        ),
        "a method caller": pickled(
            call("operator", "methodcaller", text("exec"), act)
            + call("importlib", "import_module", text("builtins")) + b"\x85R"
        ),
        "a call in a call": pickled(call("functools", "partial", named("builtins", "exec"), act) + b")R"),
    }  # fmt: skip


FORBIDDEN = {  # programs that leave one value, which no plain reading can give
    "a subprocess": call("subprocess", "check_output", text("id")),
    "torch's own loader": call("torch.storage", "_load_from_bytes", text("x")),
    "another of torch's functions": call("torch._utils", "_rebuild_sparse_tensor", text("x")),
    "a class of torch": named("torch.nn.modules.rnn", "LSTM") + b")\x81",
    "another of OrderedDict's module": call("collections", "namedtuple", text("x"), text("y")),
    "an attribute of OrderedDict": text("collections") + text("OrderedDict.fromkeys") + b"\x93",
    "a name with a line end": text("os\nx") + text("system\n") + b"\x93",
    "a name that is no text": number(3) + number(4) + b"\x93",
    "a call of a storage's class": call("torch", "FloatStorage", number(1 << 40)),
    "a call of a text": text("os.system") + many(text("id")) + b"R",
    "a call without a tuple": named("collections", "OrderedDict") + b"]R",
    "OrderedDict with content": call("collections", "OrderedDict", b"]"),
    "a tensor of no storage": tensor(text("storage")),
    "a tensor without shape": call("torch._utils", "_rebuild_tensor_v2", storage()),
    "a parameter of no tensor": call("torch._utils", "_rebuild_parameter", number(1), b"\x88", b"}"),
    "EXT1": b"\x82\x01",
    "EXT4": b"\x84\x01\x00\x00\x00",
    "NEWOBJ_EX": named("collections", "OrderedDict") + b")}\x92",
    "a set": b"\x8f",
    "DUP": b"]2",
    "PERSID": b"Psomething\n",
    "a reference that is no tuple": text("storage") + b"Q",
    "a reference to a module": many(text("module"), named("collections", "OrderedDict"), text("f"), text("s")) + b"Q",
    "a reference to a folder above": tensor(storage(key="../../data/0")),
    "a reference in foreign digits": tensor(storage(key="٣")),
    "a storage of another type": tensor(storage(kind=("collections", "OrderedDict"))),
    "a storage of two types": b"]" + tensor() + b"a" + tensor(storage(kind=("torch", "HalfStorage"))) + b"a",
    "a storage of two sizes": b"]" + tensor() + b"a" + tensor(storage(total=3), shape=(1,), strides=(1,)) + b"a",
    "a storage of negative size": tensor(storage(total=-4)),
    "a storage of 8 TB": tensor(storage(total=1 << 41), shape=(1 << 41,), strides=(1,)),
    "a storage of 4 TB that is not there": tensor(storage(total=(1 << 40) - 1), shape=((1 << 40) - 1,), strides=(1,)),
    "a view beyond the storage": tensor(storage(view=(many(text("1"), number(1), number(4)),))),
    "a view that is none": tensor(storage(view=(text("1"),))),
    "a tensor beyond the storage": tensor(shape=(3, 2)),
    "an offset beyond the storage": tensor(offset=1),
    "a negative offset": tensor(offset=-1),
    "a negative size": tensor(shape=(-2, 2)),
    "a negative stride": tensor(offset=3, strides=(-2, -1)),
    "a size that is no integer": call("torch._utils", "_rebuild_tensor_v2", storage(), number(0), many(b"\x88"), b")"),
    "a huge stride": tensor(shape=(2, 2), strides=(1 << 62, 1)),
    "rows that overlap": tensor(strides=(1, 1)),
    "one number for all": tensor(shape=(1 << 20, 1 << 19), strides=(0, 0)),
    "more strides than sizes": tensor(strides=(2, 1, 1)),
    "a hundred dimensions": tensor(shape=(1,) * 100, strides=(1,) * 100),
    "an attribute of a list": b"]}b",
    "a mark too few": b"t",
    "a tuple of nothing": b"(\x85",
    "a step across a mark": b"](a",
    "an object never made": b"h\x07",
    "a key without value": b"}(Ku",
    "a list as key": b"}]Ns",
    "a value for a list": b"](NNu",
    "an entry of a dictionary": b"}Na",
    "a text cut short": b"X\xff\xff\xff\xff" + b"x",
    "bytes cut short": b"C\xffx",
    "a text that is no UTF-8": b"X\x01\x00\x00\x00\xff",
    "an integer of 255 bytes": b"\x8a\xff" + b"\x7f" * 255,
    "an integer of 2 GB": b"\x8b\xff\xff\xff\x7f",
    "a text of 2 ** 63 bytes": b"\x8d" + b"\xff" * 7 + b"\x7f",
    "bytes of 2 ** 63": b"\x8e" + b"\xff" * 7 + b"\x7f",
    "a name without end": b"c" + b"a" * 5000,
    "a number as text": b"I" + b"9" * 100_000 + b"\n",
    "nothing": b"",
}
