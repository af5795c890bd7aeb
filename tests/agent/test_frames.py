"""Frames between processes: whole messages, or a FrameError and nothing else."""

import os
import struct
import threading
import time
from collections.abc import Iterator

import pytest
from google.protobuf.message import DecodeError
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from agent.frames import LARGEST, FrameError, FrameTimeout, read, write
from fleetmedic.v1.agent_pb2 import CheckRequest
from fleetmedic.v1.local_pb2 import LocalRequest

Pipe = tuple[int, int]
REQUEST = LocalRequest(check=CheckRequest(request_id="r"))


@pytest.fixture
def pipe() -> Iterator[Pipe]:
    """Make a pipe: reader and writer."""
    ends = os.pipe()
    yield ends
    for end in ends:
        try:
            os.close(end)
        except OSError:
            continue


def given_bytes(raw: bytes) -> int:
    """A descriptor from which exactly these bytes can be read."""
    descriptor = os.memfd_create("frames")
    os.write(descriptor, raw)
    os.lseek(descriptor, 0, os.SEEK_SET)
    return descriptor


def test_messages_come_out_as_they_went_in_and_then_the_end(pipe: Pipe) -> None:
    reader, writer = pipe
    write(writer, REQUEST)
    write(writer, LocalRequest())
    os.close(writer)
    assert read(reader, LocalRequest) == REQUEST
    assert read(reader, LocalRequest) == LocalRequest()
    assert read(reader, LocalRequest) is None


def test_a_frame_in_single_bytes_is_put_together(pipe: Pipe) -> None:
    reader, writer = pipe
    body = REQUEST.SerializeToString()

    def trickle() -> None:
        for byte in struct.pack(">I", len(body)) + body:
            os.write(writer, bytes([byte]))
            time.sleep(0.001)

    thread = threading.Thread(target=trickle)
    thread.start()
    assert read(reader, LocalRequest, time.monotonic() + 5) == REQUEST
    thread.join()


@pytest.mark.parametrize("cut", range(1, 4 + len(REQUEST.SerializeToString())))
def test_a_frame_torn_anywhere_is_an_error(cut: int) -> None:
    body = REQUEST.SerializeToString()
    descriptor = given_bytes((struct.pack(">I", len(body)) + body)[:cut])
    with pytest.raises(FrameError, match="in the middle of a message"):
        read(descriptor, LocalRequest)
    os.close(descriptor)


def test_a_frame_over_4_mib_is_refused_before_it_is_read_and_before_it_is_sent(pipe: Pipe) -> None:
    reader, writer = pipe
    os.write(writer, struct.pack(">I", LARGEST + 1))
    with pytest.raises(FrameError, match=f"a frame of {LARGEST + 1} bytes is over the {LARGEST} allowed"):
        read(reader, LocalRequest)
    with pytest.raises(FrameError, match="over the"):
        write(writer, LocalRequest(check=CheckRequest(request_id="x" * LARGEST)))
    os.set_blocking(reader, False)
    with pytest.raises(BlockingIOError):
        os.read(reader, 1)


def test_silence_is_given_up_at_the_deadline_even_in_the_middle_of_a_frame(pipe: Pipe) -> None:
    reader, writer = pipe
    os.write(writer, b"\0\0\0\x05ab")
    began = time.monotonic()
    with pytest.raises(FrameTimeout, match="no answer in time"):
        read(reader, LocalRequest, began + 0.1)
    assert 0.1 <= time.monotonic() - began < 0.5


@given(st.binary(max_size=64))
@settings(max_examples=500, suppress_health_check=[HealthCheck.too_slow])
def test_random_bytes_are_messages_or_a_frame_error_and_nothing_else(raw: bytes) -> None:
    descriptor = given_bytes(raw)
    try:
        while read(descriptor, LocalRequest) is not None:
            pass
    except FrameError:
        pass
    finally:
        os.close(descriptor)


@given(st.binary(max_size=64))
def test_a_body_of_random_bytes_is_a_message_or_a_frame_error(body: bytes) -> None:
    descriptor = given_bytes(struct.pack(">I", len(body)) + body)
    try:
        LocalRequest().ParseFromString(body)
    except DecodeError:
        with pytest.raises(FrameError, match="a frame holds no message of the expected kind"):
            read(descriptor, LocalRequest)
    else:
        assert isinstance(read(descriptor, LocalRequest), LocalRequest)
    finally:
        os.close(descriptor)
