"""The two files of a fastai language model, wherever they lie: in a tar archive, in a folder, or side by side.

    wt103-fwd.tgz   with lstm_fwd.pth and itos_wt103.pkl          fwd_wt103.h5   beside itos_wt103.pkl

Their bytes are read into memory; nothing is unpacked. A tar archive may hold plain files and folders only, none of them
outside of it, and may not unfold to many times its own size.
"""

import io
import re
import tarfile
from pathlib import Path, PurePosixPath
from typing import NamedTuple

from ..config import DIRECTIONS
from ..errors import InputError
from ..files import TAR_ENDINGS, Bounded, check_readable, damage_named, open_binary

MAX_BYTES = 2 * 10**9  # of the weights; the largest of fastai's have 0.44
MAX_WORDS_BYTES = 64 * 10**6
MAX_UNFOLDING = 20  # a tar archive's content, over its size; trained weights hardly compress
ALWAYS_ALLOWED = 32 * 10**6  # bytes, however small the archive
MAX_MEMBERS = 1000
WEIGHTS = (".pth", ".h5")
WORDS = ".pkl"
READS = re.compile(r"(?<![a-z])(?:fwd|forward|(bwd|backward))(?![a-z])")  # in a file's name


class Found(NamedTuple):
    weights_name: str  # where they lie, for messages
    weights: bytes
    words_name: str
    words: bytes
    direction: str


def find(source, direction=None, itos=None) -> Found:
    """source: a tar archive, a folder, or a .pth or .h5 file; itos: its list of words, if not beside it.

    Raises InputError where a file is missing, ambiguous, too large or unreadable, where no name says in which direction
    the model reads, and where one says something else than `direction`.
    """
    source = Path(source)
    if direction not in (None, *DIRECTIONS):
        raise InputError(f"direction: expected one of {', '.join(DIRECTIONS)}, got {direction!r}")
    check_readable(source, folder_ok=True)
    if source.is_dir():
        names, read = _in_folder(source)
    elif source.name.endswith(TAR_ENDINGS):
        names, read = _in_tar(source)
    elif source.suffix in WEIGHTS:
        names, read = _in_folder(source.parent)
        names = [source.name, *(n for n in names if n.endswith(WORDS))]
    else:
        raise InputError(f"{source}: expected a folder or a file that ends in {', '.join((*TAR_ENDINGS, *WEIGHTS))}")
    weights = _choose_weights(source, names, direction)
    direction = _direction(source, weights, direction)
    if itos is not None:
        (found,) = read({weights: MAX_BYTES}).values()
        return Found(*found, str(itos), _read_file(Path(itos), MAX_WORDS_BYTES), direction)
    words = _choose_words(source, names)
    found = read({weights: MAX_BYTES, words: MAX_WORDS_BYTES})
    return Found(*found[weights], *found[words], direction)


def directions_in(name) -> set[str]:
    """The directions of which a file's name speaks."""
    return {DIRECTIONS[bool(match[1])] for match in READS.finditer(PurePosixPath(name).name.lower())}


def _direction(source, weights, wanted):
    said = directions_in(weights) | (directions_in(source.name) if source.name.endswith(TAR_ENDINGS) else set())
    if len(said | ({wanted} - {None})) == 1:
        return wanted or said.pop()
    if not said:
        raise InputError(f"{source}: cannot tell from the file name in which direction the model reads: add "
                         f"--direction {' or '.join(DIRECTIONS)}")  # fmt: skip
    names = f"the names of its files say {' and '.join(sorted(said))}"
    conflict = f", and {wanted} was asked for" if wanted else ""
    raise InputError(f"{source}: {names}{conflict}; give --direction the one in which the model reads")


def _choose_weights(source, names, direction):
    """The one file of weights: that of the direction, and a whole model rather than an encoder."""
    found = [n for n in names if n.endswith(WEIGHTS)]
    for wish in (lambda n: direction in directions_in(n), lambda n: "_enc" not in n):
        found = [n for n in found if wish(n)] or found
    remedy = "name the file, or give --direction" if found else "give the archive or folder of a language model"
    return _only(source, found, f"file of weights ({', '.join(WEIGHTS)})", remedy)


def _choose_words(source, names):
    found = [n for n in names if n.endswith(WORDS)]
    found = [n for n in found if "itos" in n] or found
    return _only(source, found, f"list of words (itos…{WORDS})", "give --itos")


def _only(source, found, what, remedy):
    if len(found) != 1:
        there = f"several: {', '.join(f'{n!a:.60}' for n in found[:5])}" if found else "none"
        raise InputError(f"{source}: expected one {what}, found {there}; {remedy}")
    return found[0]


# --- both return the names, and a function from {name: most bytes} to {name: (where it lies, content)}


def _in_folder(folder):
    try:
        names = sorted(f.name for f in folder.iterdir() if f.suffix in (*WEIGHTS, WORDS))
    except OSError as error:
        raise InputError(f"{folder}: cannot be read ({error.strerror}); check its permissions") from error
    return names, lambda wanted: {n: (str(folder / n), _read_file(folder / n, most)) for n, most in wanted.items()}


def _in_tar(path):
    return list(_walk_tar(path, {})), lambda wanted: _walk_tar(path, wanted)


def _walk_tar(path, wanted):
    """Read a tar archive from end to end -> {name: (where it lies, content)}, the content only of the `wanted`."""
    found = {}
    most = max(ALWAYS_ALLOWED, MAX_UNFOLDING * path.stat().st_size)
    complaint = f"{path}: unfolds to over {MAX_UNFOLDING} times its size; get the archive again"
    with damage_named(str(path)), open_binary(path) as stream:
        with tarfile.open(fileobj=io.BufferedReader(Bounded(stream, most, complaint)), mode="r|") as tar:
            for member in tar:
                if not 0 <= member.size <= most:  # before tarfile goes to its end, however far that is said to be
                    raise InputError(f"{path}: unfolds to {member.size} bytes and more; get the archive again")
                if _is_file(member, found, path):
                    name = f"{path}/{ascii(member.name)[1:-1]:.100}"
                    content = member.name in wanted and _read(
                        tar.extractfile(member), member.size, name, wanted[member.name]
                    )
                    found[member.name] = name, content
    return {name: what for name, what in found.items() if not wanted or name in wanted}


def _is_file(member, found, path):
    """Whether a tar archive's member is a file, and not a folder. Anything else is refused."""
    inside = PurePosixPath(member.name)
    if inside.is_absolute() or ".." in inside.parts or "\\" in member.name:
        raise InputError(f"{path}: has a member outside of it, {member.name!a:.100}; get the archive again")
    if member.isdir():
        return False
    if member.type not in (tarfile.REGTYPE, tarfile.AREGTYPE) or member.issparse():
        raise InputError(f"{path}: {member.name!a:.100} in it is no plain file; get the archive again")
    if member.name in found or len(found) >= MAX_MEMBERS:
        raise InputError(f"{path}: has two members of one name, or over {MAX_MEMBERS}; get the archive again")
    return True


def _read_file(path, most):
    check_readable(path)
    with damage_named(str(path)), open(path, "rb") as file:
        return _read(file, path.stat().st_size, path, most)


def _read(stream, size, name, most):
    if size > most:
        raise InputError(f"{name}: has {size} bytes, over {most}, as no model of fastai has; give the right file")
    content = stream.read(size + 1)  # and no further, however far it goes
    if len(content) > size:
        raise InputError(f"{name}: goes on after the {size} bytes that it is said to have; give a file that is at rest")
    return content
