"""The official files: where they are, and the checksum that each must have, downloaded or already there."""

import hashlib
import socket
import sys
from pathlib import Path
from typing import NamedTuple
from urllib.parse import urlsplit

from .errors import InputError


class Official(NamedTuple):
    """The address of a file and the checksum that the common loaders (tfds, Hugging Face) pin for it."""

    url: str
    sha256: str


_TREC = "https://cogcomp.seas.upenn.edu/Data/QA/QC/"
_IMDB = "http://ai.stanford.edu/~amaas/data/sentiment/"
_WIKI = "https://s3.amazonaws.com/research.metamind.io/wikitext/"
OFFICIAL = {filename: Official(folder + filename, sha256) for folder, filename, sha256 in (
    (_TREC, "train_5500.label", "9e4c8bdcaffb96ed61041bd64b564183d52793a8e91d84fc3a8646885f466ec3"),
    (_TREC, "TREC_10.label", "033f22c028c2bbba9ca682f68ffe204dc1aa6e1cf35dd6207f2d4ca67f0d0e8e"),
    (_IMDB, "aclImdb_v1.tar.gz", "c40f74a18d3b61f90feba1e17730e0d38e8b97c05fde7008942e91923d1658fe"),
    (_WIKI, "wikitext-2-v1.zip", "92675f1d63015c1c8b51f1656a52d5bdbc33aafa60cc47a218a66e7ee817488c"),
    (_WIKI, "wikitext-2-raw-v1.zip", "ef7edb566e3e2b2d31b29c1fdb0c89a4cc683597484c3dc2517919c615435a11"),
    (_WIKI, "wikitext-103-v1.zip", "242ba0f20b329cfdf1ccc61e9e9e5b59becf189db7f7a81cd2a0e2fc31539590"),
    (_WIKI, "wikitext-103-raw-v1.zip", "91c00ae287f0d699e18605c84afc9e45c192bc6b7797ff8837e5474655a33794"),
)}


def fetch(filename: str, data_dir: str | Path | None = None, *, beside: tuple[str, ...] = ()) -> Path:
    """The path of an official file, its sha256 checked: from data_dir, or else downloaded once.

    beside: the other files that are needed with it, so that whoever has no network hears of all of them at once.
    """
    official = OFFICIAL[filename]
    if data_dir is None:
        return _download(filename, official, (filename, *beside))
    path = Path(data_dir) / filename
    if not path.is_file():
        what = "no such file" if Path(data_dir).is_dir() else "no such folder"
        raise InputError(f"{path}: {what}; expected the official file from {official.url} in --data-dir")
    try:
        with open(path, "rb") as file:
            found = hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error}); check its permissions") from error
    if found != official.sha256:
        raise InputError(f"{path}: sha256 is {found}, the official file has "
                         f"{official.sha256}; this copy is altered or cut off, get {official.url}")
    return path


def _download(filename: str, official: Official, needed: tuple[str, ...]) -> Path:
    try:
        import pooch  # here, because most runs find their files without it

        pooch.get_logger().setLevel("WARNING")  # what it says of a download, _Announced says
        return Path(pooch.retrieve(official.url, known_hash=f"sha256:{official.sha256}", fname=filename,
                                   path=pooch.os_cache("ulmfit"),
                                   downloader=pooch.HTTPDownloader(progressbar=_Announced(official.url))))
    except (ImportError, OSError, ValueError) as error:  # offline, 404, cut off or altered on the way
        if _is_unresolved(error):
            addresses = " and ".join(OFFICIAL[name].url for name in needed)
            raise InputError(f"{filename}: no network? (cannot resolve {urlsplit(official.url).hostname}); put the "
                             f"files into a folder DIR and use --data-dir DIR: {addresses}") from error
        reason = " ".join(str(error).split())
        raise InputError(f"{filename}: no download from {official.url} ({reason}); put the file with sha256 "
                         f"{official.sha256} into a folder DIR and use --data-dir DIR") from error


class _Announced:
    """What pooch takes for a progress bar: one line, as soon as something comes, so that an error stays alone."""

    def __init__(self, url: str):
        self.url, self.total, self.said = url, 0, False

    def update(self, n: int) -> None:
        if not self.said:
            print(f"downloading {self.url} ({self.total / 2**20:.1f} MiB) ...", file=sys.stderr, flush=True)
        self.said = True

    def reset(self) -> None:
        pass

    close = reset


def _is_unresolved(error: BaseException | None) -> bool:
    """Whether it all began with the name of a host that nobody knows."""
    while error is not None and not isinstance(error, socket.gaierror):
        error = error.__cause__ or error.__context__
    return error is not None
