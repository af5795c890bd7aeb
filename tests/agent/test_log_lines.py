"""Which lines of a log are errors, and of which endpoint."""

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent import log_lines


@pytest.mark.parametrize(
    ("line", "path"),
    [
        ('{"level":"ERROR","path":"/orders/17","msg":"x"}', "/orders/<num>"),
        ('{"levelname":"error","msg":"no path"}', ""),
        ('{"level":"info","path":"/orders/17"}', None),
        ('{"level":"info","status":500,"path":"/a"}', "/a"),
        ('{"severity":"CRITICAL","url":"https://shop.lab/a?token=x"}', "/a"),
        ('INFO: 10.0.0.1:5 - "GET /orders/5?x=1 HTTP/1.1" 500 Internal Server Error', "/orders/<num>"),
        ('10.0.0.1 - - [x] "POST /pay HTTP/1.0" 503 12', "/pay"),
        ('INFO: 10.0.0.1:5 - "GET /orders HTTP/1.1" 404 Not Found', None),
        ("2026-01-01 ERROR shop: no connection", ""),
        ('2026-01-01 ERROR shop: "path":"/cart/9f8e7d6c5b4a"', "/cart/<hex>"),
        ("[ERROR] endpoint=/users/ann@example.net failed", "/users/<text>"),
        ("INFO no errors found", None),
        ("INFO TERROR in the film", None),
        ("{not json ERROR}", ""),
        ("[1, 2]", None),
        ("", None),
    ],
)
def test_a_line_is_an_error_by_its_level_its_word_or_its_status(line: str, path: str | None) -> None:
    assert log_lines.error_path(line) == path


@pytest.mark.parametrize(
    ("path", "shape"),
    [
        ("/a/7/b", "/a/<num>/b"),
        ("/a/123e4567-e89b-12d3-a456-426614174000", "/a/<uuid>"),
        ("/files/" + "x" * 41, "/files/<text>"),
        ("/a?password=x#y", "/a"),
        ("/v1/cafe", "/v1/cafe"),
        # pragma: allowlist nextline secret - made up
        ("/reset/Zx8qPw3nT7_yLk2mVb9RcA", "/reset/<text>"),
        # pragma: allowlist nextline secret - made up
        ("/" + "a/" * 43 + "ghs_16C7e42F292c6912E7710c838347Ae178B4a", "/" + "a/" * 43 + "<text>"),
        ("/" + "long-name/" * 20, "/" + "/".join(["long-name"] * 12) + "/..."),
        ("/", "/"),
    ],
)
def test_what_differs_in_each_request_is_taken_out_of_a_path(path: str, shape: str) -> None:
    assert log_lines.shape(path) == shape


def test_frames_of_the_engine_are_taken_off_and_a_terminals_log_is_plain() -> None:
    framed = b"".join(
        bytes([stream, 0, 0, 0]) + struct.pack(">I", len(text)) + text
        for stream, text in ((1, b"one\n"), (2, b"two\r\n"), (1, b"thr"), (1, b"ee\n"))
    )
    assert list(log_lines.unframed(framed)) == ["one", "two", "three"]
    assert list(log_lines.unframed(b"one\ntwo")) == ["one", "two"]
    assert list(log_lines.unframed(framed[:-2])) == ["one", "two", "thre"]


@given(st.binary(max_size=400))
def test_no_bytes_of_a_container_end_the_reading(body: bytes) -> None:
    for line in log_lines.unframed(body):
        path = log_lines.error_path(line)
        assert path is None or len(path) <= log_lines.LONGEST_PATH + len("/...")
