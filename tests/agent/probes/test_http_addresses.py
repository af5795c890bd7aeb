"""A health URL is asked as clients ask it: at each address of its name; what is no HTTP is told, never a crash."""

import contextlib
import socket
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from agent import dialling
from agent.config import Config
from agent.probes import http, tls
from fleetmedic.v1.snapshot_pb2 import HttpSnapshot, Target


@contextlib.contextmanager
def serving(family: socket.AddressFamily, address: str, head: str = "", body: str = "ok") -> Iterator[int]:
    """Answer each connection alike, until the block ends."""
    with socket.socket(family) as listener:
        listener.bind((address, 0))
        listener.listen()

        def serve() -> None:
            with contextlib.suppress(OSError):
                while True:
                    with listener.accept()[0] as client:
                        client.recv(4096)
                        client.sendall(f"HTTP/1.0 {head or '200 OK'}\r\n\r\n{body}".encode())

        threading.Thread(target=serve, daemon=True).start()
        yield listener.getsockname()[1]
        listener.shutdown(socket.SHUT_RDWR)


def asked(url: str) -> HttpSnapshot:
    folder = Path("/nonexistent")
    return http.collect(Target(probe="http", url=url), Config(None, "h", folder, folder)).http


@pytest.mark.covers("chk:HTTP-HEALTH")
@pytest.mark.parametrize(("family", "address"), [(socket.AF_INET, "127.0.0.1"), (socket.AF_INET6, "::1")])
def test_a_server_on_either_address_of_a_name_answers(family: socket.AddressFamily, address: str) -> None:
    addresses = [
        (socket.AF_INET6, socket.SOCK_STREAM, 6, "", ("::1", 0)),
        (socket.AF_INET, socket.SOCK_STREAM, 6, "", ("127.0.0.1", 0)),
    ]
    with serving(family, address) as port:
        known = [(*row[:4], (row[4][0], port)) for row in addresses]
        for order in (known, known[::-1]):
            with dialling.connected(order, lambda: 2.0) as reached:
                assert reached.getpeername()[0] == address
    with pytest.raises(ConnectionRefusedError):
        dialling.connected(known, lambda: 2.0)


@pytest.mark.parametrize(
    ("head", "body", "status"),
    [
        ("302 Found\r\nLocation: http://[oops", "", 302),
        ("200 OK\r\nContent-Type: application/json", "[" * 20_000, 200),
    ],
    ids=["a redirect to no URL", "JSON nested too deep"],
)
def test_an_odd_answer_is_an_answer(head: str, body: str, status: int) -> None:
    with serving(socket.AF_INET, "127.0.0.1", head, body) as port:
        seen = asked(f"http://127.0.0.1:{port}/health")
    assert (seen.status, seen.error_class) == (status, "")


def test_a_path_with_other_letters_is_asked_for_as_a_browser_would() -> None:
    with serving(socket.AF_INET, "127.0.0.1") as port:
        assert asked(f"http://127.0.0.1:{port}/größe?q=ü b").status == 200


@pytest.mark.parametrize("host", ["a..b", "x" * 64 + ".lab"])
def test_what_is_no_host_name_is_told_so(host: str) -> None:
    folder = Path("/nonexistent")
    assert asked(f"http://{host}/").error_class == "dns"
    target = Target(probe="tls", host=host, port=443)
    assert tls.collect(target, Config(None, "h", folder, folder)).tls.error_class == "dns"
