"""What a port that is not meant for us answers to a handshake, from real sockets."""

import socket
import ssl
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from agent.config import Config
from agent.probes import tls
from fleetmedic.v1.snapshot_pb2 import Snapshot, Target
from tests.agent.rules.judged import status
from tests.lab.authority import Authority


def answered(serve: Callable[[socket.socket], None], tmp_path: Path, host: str = "localhost") -> Snapshot:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        target = Target(probe="tls", name="x", host=host, port=listening.getsockname()[1], origin="discovered")
        thread = threading.Thread(target=lambda: serve(listening.accept()[0]))
        thread.start()
        made = tls.collect(target, Config(None, "h", tmp_path, tmp_path))
        thread.join()
    made.target.CopyFrom(target)
    return made


def test_plain_http_on_a_port_that_ends_in_443_is_skipped(tmp_path: Path) -> None:
    def serve(connection: socket.socket) -> None:
        with connection:
            connection.recv(4096)
            connection.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n")

    made = answered(serve, tmp_path)
    assert made.tls.error_text == "wrong version number"
    assert status("TLS-EXPIRY", made) == "skipped"


def test_a_server_that_rejects_names_it_does_not_know_is_skipped(tmp_path: Path, authority: Authority) -> None:
    files = authority.issue("a.lab", dns=["a.lab"]).write(tmp_path)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(files.certificate, files.key)
    context.sni_callback = lambda *_: ssl.ALERT_DESCRIPTION_UNRECOGNIZED_NAME

    def serve(connection: socket.socket) -> None:
        with connection, pytest.raises(ssl.SSLError):
            context.wrap_socket(connection, server_side=True)

    made = answered(serve, tmp_path)
    assert "unrecognized name" in made.tls.error_text
    assert status("TLS-EXPIRY", made) == "skipped"
