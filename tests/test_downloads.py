"""Official files: downloaded once and checked, or taken from a folder and checked."""

import gc
import hashlib
import os
import socket
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from reading import refusal

from ulmfit.datasets import load_dataset
from ulmfit.downloads import OFFICIAL, Official, fetch


def test_a_data_dir_is_checked(tmp_path):
    message = refusal(load_dataset, "trec6", data_dir=tmp_path)
    assert "train_5500.label: no such file; expected the official file from https://cogcomp" in message
    assert "no such folder" in refusal(load_dataset, "trec6", data_dir=tmp_path / "gone")
    (tmp_path / "train_5500.label").write_text("HUM:desc An altered copy ?\n")
    message = refusal(load_dataset, "trec6", data_dir=tmp_path)
    found = hashlib.sha256(b"HUM:desc An altered copy ?\n").hexdigest()
    assert found in message and OFFICIAL["train_5500.label"].sha256 in message and "altered" in message


CONTENT = b"HUM:desc Who was Galileo ?\n" * 100


class Handler(BaseHTTPRequestHandler):
    def do_GET(self):
        self.server.asked.append(self.path)
        if self.path == "/404":
            return self.send_error(404)
        body = CONTENT if self.path != "/altered" else CONTENT.upper()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body[: len(body) // 2] if self.path == "/cut" else body)

    def log_message(self, *args):
        pass


@pytest.fixture
def server(tmp_path, monkeypatch):
    """A server on this machine; the cache of downloads is a folder of the test."""
    pytest.importorskip("pooch")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        server.asked = []
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield server
        server.shutdown()
        thread.join()


def offer(monkeypatch, server, path):
    official = Official(f"http://127.0.0.1:{server.server_port}{path}", hashlib.sha256(CONTENT).hexdigest())
    monkeypatch.setitem(OFFICIAL, "TREC_10.label", official)
    return official


def test_a_file_is_downloaded_once(server, tmp_path, monkeypatch, capfd):
    url = offer(monkeypatch, server, "/good").url
    path = fetch("TREC_10.label")
    assert capfd.readouterr() == ("", f"downloading {url} (0.0 MiB) ...\n")      # and nothing of pooch's own
    assert path.read_bytes() == CONTENT and path.is_relative_to(tmp_path / "cache")
    assert fetch("TREC_10.label") == path and server.asked == ["/good"]
    path.write_bytes(b"damaged later")      # the cache is checked as well, and mends itself
    assert fetch("TREC_10.label").read_bytes() == CONTENT and len(server.asked) == 2


@pytest.mark.filterwarnings("ignore:unclosed <socket:ResourceWarning")      # pooch leaves its response open
@pytest.mark.parametrize("path", ["/404", "/altered", "/cut"])
def test_a_failed_download_says_where_what_and_how(server, tmp_path, monkeypatch, path):
    official = offer(monkeypatch, server, path)
    message = refusal(fetch, "TREC_10.label")
    assert official.url in message and official.sha256 in message and "use --data-dir DIR" in message
    reason = {"/404": "404", "/altered": hashlib.sha256(CONTENT.upper()).hexdigest(), "/cut": "IncompleteRead"}
    assert reason[path] in message
    assert not [file for file in (tmp_path / "cache").rglob("*") if file.is_file()]      # nothing half done
    gc.collect()      # the socket of pooch goes here, where its warning is expected


@pytest.mark.parametrize("read_only", [True, False])
def test_a_cache_that_cannot_be_written_says_what_to_do(read_only, server, tmp_path, monkeypatch):
    official = offer(monkeypatch, server, "/good")
    cache = tmp_path / "cache"
    if read_only:
        if os.geteuid() == 0:
            pytest.skip("the superuser may write everywhere")
        cache.mkdir(mode=0o500)
    else:
        cache.write_text("a file in its place")
    message = refusal(fetch, "TREC_10.label")
    assert str(cache) in message and official.sha256 in message and "use --data-dir DIR" in message


def test_offline_says_the_same(server, monkeypatch):
    official = offer(monkeypatch, server, "/good")
    with socket.create_server(("127.0.0.1", 0)) as nobody:      # a port that is free again afterwards
        port = nobody.getsockname()[1]
    official = official._replace(url=f"http://127.0.0.1:{port}/good")
    monkeypatch.setitem(OFFICIAL, "TREC_10.label", official)
    message = refusal(fetch, "TREC_10.label")
    assert official.url in message and official.sha256 in message and "use --data-dir DIR" in message


def test_without_a_network_all_the_files_are_named_with_the_way_out(server, monkeypatch):
    def nobody_knows(host, *_, **__):
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", nobody_knows)
    monkeypatch.setenv("NO_PROXY", "*")
    both = {name: OFFICIAL[name].url for name in ("train_5500.label", "TREC_10.label")}
    message = refusal(load_dataset, "trec6")
    begin = "train_5500.label: no network? (cannot resolve cogcomp.seas.upenn.edu); put the files into a folder DIR and"
    assert message.startswith(f"{begin} use --data-dir DIR: ") and all(url in message for url in both.values())
    message = refusal(fetch, "aclImdb_v1.tar.gz")
    assert "cannot resolve ai.stanford.edu" in message and message.endswith(OFFICIAL["aclImdb_v1.tar.gz"].url)


def test_without_pooch_the_way_out_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "pooch", None)
    assert "pooch" in (message := refusal(fetch, "TREC_10.label")) and "use --data-dir DIR" in message
