"""Our Redis connection against a real server beside the library, and against whatever a hostile one may send."""

import contextlib
import socket
import threading
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent import resp
from agent.probes import redis as probe
from agent.resp import Connection, Garbled, Refused
from tests.lab.redis import Redis


@contextlib.contextmanager
def answered(data: bytes) -> Iterator[Connection]:
    """A connection whose peer sends `data` and closes."""
    ours, theirs = socket.socketpair()
    ours.settimeout(5)

    def serve() -> None:
        with contextlib.suppress(OSError), theirs:
            theirs.recv(65536)
            theirs.sendall(data)

    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    with Connection(ours) as connection:
        yield connection
    thread.join(5)


@pytest.mark.parametrize(
    ("data", "reply"),
    [
        (b"+OK\r\n", "OK"),
        (b":-42\r\n", -42),
        (b"$5\r\na\r\nbc\r\n", "a\r\nbc"),
        (b"$0\r\n\r\n", ""),
        (b"$-1\r\n", None),
        (b"*-1\r\n", None),
        (b"*3\r\n:1\r\n*1\r\n$1\r\nx\r\n$-1\r\n", [1, ["x"], None]),
        (b"$2\r\n\xff\xfe\r\n", "\ufffd\ufffd"),
    ],
)
def test_a_reply_is_read_as_the_protocol_says(data: bytes, reply: resp.Reply) -> None:
    with answered(data) as connection:
        assert connection.ask("PING") == reply


def test_an_error_of_the_server_is_raised_with_its_own_words() -> None:
    with answered(b"-NOAUTH Authentication required.\r\n") as connection, pytest.raises(Refused, match="^NOAUTH Auth"):
        connection.ask("PING")


@pytest.mark.parametrize(
    "data",
    [
        b"HTTP/1.1 400 Bad Request\r\n\r\n",
        b"$8000000000\r\n" + b"x" * 1000,
        b"*999999999\r\n" + b":1\r\n" * 300_000,
        b"*1\r\n" * 100,
        b"$nine\r\n",
        b"+" + b"x" * 100_000,
        b"\r\n",
    ],
    ids=["HTTP", "8 GB", "a list without end", "nested without end", "no number", "a line without end", "nothing"],
)
def test_what_no_reply_is_or_holds_is_refused_and_costs_no_memory(data: bytes) -> None:
    with answered(data) as connection, pytest.raises(Garbled):
        connection.ask("INFO")


@pytest.mark.parametrize("data", [b"", b"$10\r\nabc", b"*2\r\n:1\r\n"])
def test_a_connection_that_ends_too_early_is_cut(data: bytes) -> None:
    with answered(data) as connection, pytest.raises(ConnectionError):
        connection.ask("INFO")


@given(st.binary(max_size=300))
def test_random_bytes_are_a_reply_or_one_of_three_errors(data: bytes) -> None:
    with answered(data) as connection, contextlib.suppress(Refused, Garbled, OSError):
        connection.ask("PING")


def test_the_library_and_we_read_the_same(redis: Redis) -> None:
    library = redis.client()
    for number in range(20):
        library.set(f"resp:{number}", "größe \r\n" * number)
    theirs = library.info("all")
    with resp.connect(redis.host, redis.port, "", 5.0, None) as connection:
        assert connection.ask("GET", "resp:3") == "größe \r\n" * 3
        assert connection.ask("DBSIZE") == library.dbsize()
        with pytest.raises(Refused, match="unknown command"):
            connection.ask("NONSENSE", "x y")
        ours = probe.info(connection.ask("INFO", "all"))
    same = ("redis_version", "maxmemory", "maxmemory_policy", "role", "tcp_port", "run_id")
    assert {name: ours[name] for name in same} == {name: str(theirs[name]) for name in same}
    assert ours["db0"].partition(",")[0] == f"keys={theirs['db0']['keys']}"
    assert set(theirs) - {"module", "modules"} <= set(ours) | {"errorstat_ERR"}
    library.close()
