"""A hostile file is read while an audit hook watches: nothing may be executed, and nothing written but where it may.

Python tells its audit hooks of every file that is opened, made, renamed or removed, of every process, connection and
class that a pickle asks for. A hook cannot be taken away again, so this one looks away while nothing is attacked.
"""

import os
import subprocess
import sys
import time
import tracemalloc
from collections.abc import Callable
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from cli_helpers import ulmfit
from hostile import controls

from minilstm import CheckpointError
from ulmfit.errors import InputError

SECONDS, MEGABYTES = 5.0, 100  # for one file; beside them stands what a good model takes
LIMIT = 3 * 2**30  # bytes of addresses for a process of its own, of which numpy and numba take most
EXECUTES = {"pickle.find_class", "os.system", "os.exec", "os.posix_spawn", "os.fork", "os.forkpty", "subprocess.Popen"}
CONNECTS = {"socket.connect", "socket.bind"}
OUR_OWN = ("subprocess.Popen ('git', ", "subprocess.Popen ('uname', ")  # a run notes the commit and the machine
WRITES = {"os.mkdir": 1, "os.rename": 2, "os.link": 2, "os.symlink": 2, "os.remove": 1, "os.rmdir": 1, "os.truncate": 1,
          "os.chmod": 1, "os.mkfifo": 1, "shutil.rmtree": 1}  # event: how many of its arguments are paths  # fmt: skip
TO_WRITE = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND


class Place(NamedTuple):
    """Where an attack happens. Who reads may write into `out` and nowhere else."""

    inside: Path  # the hostile files
    out: Path
    outside: Path  # holds a file with the text KEPT, and stays as it is
    made: Path  # what is executed makes this folder


KEPT = "nobody may change this"


class Case(NamedTuple):
    """make(place) writes the files -> what is read; read: a call of (source, out), or the words of a command in which
    {} is the source and {out} the folder to write into. It is to be refused; or read, and what it prints is clean."""

    kind: str
    name: str
    make: Callable[[Place], object]
    read: Callable | tuple[str, ...]
    says: str | None  # a part of the refusal, so that it is refused for what is wrong; None: there is none
    apart: bool = False  # in a process of its own, with a limit to its memory


class Outcome(NamedTuple):
    message: str  # the refusal; "" where there was none
    executed: list[str]
    written: list[str]
    seconds: float
    megabytes: float  # of Python's memory at the most; of a process of its own, all of it
    faults: list[str]  # of all these, in words; none where all is well


_seen = None  # the events of an attack that is going on


def _hook(event, arguments):
    if _seen is not None and (event == "open" or event in WRITES or event in EXECUTES or event in CONNECTS):
        if not (event == "pickle.find_class" and _asked_by_numba()):
            _seen.append((event, arguments))


def _asked_by_numba():
    """Which keeps what it has compiled as pickles of its own."""
    frame = sys._getframe(2)
    while frame and not frame.f_globals.get("__name__", "").startswith("numba."):
        frame = frame.f_back
    return frame is not None


sys.addaudithook(_hook)


@contextmanager
def _watched():
    global _seen
    _seen = events = []
    try:
        yield events
    finally:
        _seen = None


def attack(case, folder) -> Outcome:
    """Make the files of a case in a new folder, read them, and see what came of it."""
    place = Place(folder / "in", folder / "out", folder / "outside", folder / "outside" / "made")
    for part in place[:3]:
        part.mkdir(parents=True)
    (place.outside / "kept").write_text(KEPT)
    source = case.make(place)
    answer, output, events, seconds, megabytes = (_apart if case.apart else _here)(case, source, place)
    executed = [f"{event} {arguments[:2]}" for event, arguments in events if event in EXECUTES | CONNECTS]
    executed = [what for what in executed if not what.startswith(OUR_OWN)]
    executed += ["the payload"] if place.made.exists() else []
    written = [path for event in events for path in _written(*event) if not _is_in(path, place.out)]
    if sorted(p.name for p in place.outside.iterdir()) != ["kept"] or (place.outside / "kept").read_text() != KEPT:
        written.append(str(place.outside))
    faults = [f"executed {what}" for what in executed] + [f"wrote {path}" for path in written]
    faults += _faults_of(answer, output, case.says)
    faults += [f"took {seconds:.1f} s"] * (seconds > SECONDS) + [f"took {megabytes:.0f} MB"] * (
        megabytes > (LIMIT / 2**20 if case.apart else MEGABYTES)
    )
    return Outcome(answer, executed, written, seconds, megabytes, faults)


def _here(case, source, place):
    tracemalloc.start()
    with _watched() as events:
        began = time.process_time()
        answer, output = _read(case, source, place)
        seconds = time.process_time() - began
    megabytes = tracemalloc.get_traced_memory()[1] / 1e6
    tracemalloc.stop()
    return answer, output, events, seconds, megabytes


def _read(case, source, place):
    """-> the refusal or "", what was printed"""
    try:
        if callable(case.read):
            return "", str(case.read(source, place.out) or "")
        code, out, err = ulmfit(*_command(case, source, place))
    except (InputError, CheckpointError) as error:
        return str(error), ""
    return _said(code, out, err)


def _command(case, source, place):
    return [word.format(source, out=place.out) for word in case.read]


def _said(code, out, err):
    one_line = err.startswith("error: ") and err.count("\n") == 1
    refused = one_line and (code == 2 or err.startswith("error: out of memory"))
    return (err.removesuffix("\n"), out) if refused else ("", f"{out}{err}exit code {code}" if code else out + err)


def _apart(case, source, place):
    """With a limit to its memory; there is no hook, so only what is left behind tells."""
    limit = f"import resource; resource.setrlimit(resource.RLIMIT_AS, ({LIMIT}, {LIMIT}))"
    used = "u = resource.getrusage(0); print('\\n', u.ru_utime + u.ru_stime, u.ru_maxrss * 1024 / 1e6)"
    code = f"{limit}; import sys; from ulmfit.cli import main; c = main(sys.argv[1:]); {used}; sys.exit(c)"
    words, root = [sys.executable, "-c", code, *_command(case, source, place)], str(Path(__file__).parents[1])
    done = subprocess.run(words, capture_output=True, text=True, timeout=60, cwd=root)
    out, _, used = done.stdout.rstrip().rpartition("\n")
    seconds, megabytes = map(float, used.split() or ["inf"] * 2)  # infinite where it never came to its end
    return *_said(done.returncode, out, done.stderr), [], seconds, megabytes


def _written(event, arguments):
    """The paths that an event writes to, links on the way followed."""
    if event == "open":
        path, _, flags = arguments
        paths = [path] if flags and flags & TO_WRITE else []
    else:
        paths = arguments[: WRITES.get(event, 0)]
    for path in paths:
        if isinstance(path, str | bytes | os.PathLike):  # and no number of a file that is open
            path = os.fsdecode(path)
            folder, name = os.path.split(path)
            real = os.path.realpath(path) if event == "open" else os.path.join(os.path.realpath(folder), name)
            if "__pycache__" not in real and real != os.devnull:
                yield real


def _is_in(path, folder):
    return Path(path).is_relative_to(folder.resolve())


def _faults_of(answer, output, says):
    if says is None and answer:
        yield f"was refused: {answer!a:.300}"
    if says is not None and says not in answer:
        yield f"did not say {says!r}: {answer or output!a:.300}"
    for text in (answer, output.replace("\n", " ").replace("\t", " ")):
        if bad := controls(text):
            yield f"printed {ascii(''.join(sorted(bad)))}"
    if len(answer) > 2500 or "internal error" in output:
        yield f"said {answer or output!a:.500}"
