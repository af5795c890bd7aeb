"""Malformed requests: to every method of a real front over mutual TLS, to the reader of frames, to a real worker."""

import contextlib
import random
import socket
import struct
import time
from collections import Counter
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import Any

import grpc
from google.protobuf.message import DecodeError, Message

from agent import frames
from agent.front import policy
from fleetmedic.v1 import agent_pb2
from fleetmedic.v1.local_pb2 import LocalRequest, LocalResponse
from tests.agent import front
from tests.agent.front import operator
from tests.controller.hostile_answers import PIECES, cycling, filled

SECONDS = 30.0
# Fewer than the streams that a front allows: it refuses the one too many.
AT_ONCE = 8
# What a front may say to a request that is one: it does it, or it has a reason not to. A bug of ours is none.
REASONS = frozenset(grpc.StatusCode) - {grpc.StatusCode.INTERNAL, grpc.StatusCode.UNKNOWN, grpc.StatusCode.UNAVAILABLE}


Flying = list[tuple[bytes, Any]]


class Broken(Exception):
    """A front or a worker did what it must not; the message has the method and the bytes."""


def malformed(kind: type[Message], dice: random.Random) -> bytes:
    """Random bytes, or a whole message in which some were changed, cut off or doubled."""
    if dice.random() < 0.5:
        return dice.randbytes(dice.randrange(1, 200))
    words = [dice.choice(PIECES) for _ in range(5)]
    raw = bytearray(
        filled(kind(), *cycling(words, dice.randrange(1000)), depth=dice.choice((0, 1, 2))).SerializeToString()
    )
    for _ in range(dice.choice((1, 2, 10)) if raw else 0):
        raw[dice.randrange(len(raw))] = dice.randrange(256)
    place = dice.randrange(len(raw) + 1)
    return bytes(raw[:place]) * dice.choice((1, 1, 2)) + bytes(raw[place:] if dice.random() < 0.7 else b"")


def to_front(draws: int, folder: Path, now: datetime, seed: int = 1) -> Counter[str]:
    """So many requests to each method; how they were answered. Broken at the first that is answered otherwise."""
    seen: Counter[str] = Counter()
    with contextlib.ExitStack() as stack:
        running = stack.enter_context(front.run(folder, now))
        channel = stack.enter_context(running.channel(operator(running.operators, "admin")))
        grpc.channel_ready_future(channel).result(SECONDS)
        for method in policy.SERVICE.methods:
            kind = getattr(agent_pb2, method.input_type.name)
            dice = random.Random(f"{method.name} {seed}")
            bodies = (malformed(kind, dice) for _ in range(draws))
            for raw, call in _answered(channel, method.name, bodies, streams=method.server_streaming):
                code = call.code()
                fits = code in REASONS - {grpc.StatusCode.INVALID_ARGUMENT} if _parses(kind, raw) else False
                if code != grpc.StatusCode.INVALID_ARGUMENT and not fits:
                    raise Broken(f"{method.name} answered {code.name} ({call.details()}) to {raw.hex()!r}")
                seen[code.name] += 1
        for _, call in _answered(channel, "Describe", iter([b""]), streams=False):
            if call.code() != grpc.StatusCode.OK:
                raise Broken(f"the front does not answer any more: {call.code()} {call.details()}")
    return seen


def _answered(
    channel: grpc.Channel, method: str, bodies: Iterator[bytes], *, streams: bool
) -> Iterator[tuple[bytes, Any]]:
    path = f"/{policy.SERVICE.full_name}/{method}"
    if streams:
        stream: grpc.UnaryStreamMultiCallable[bytes, bytes] = channel.unary_stream(path, None, None)
        for raw in bodies:
            call = stream(raw, timeout=SECONDS)
            with contextlib.suppress(grpc.RpcError):
                list(call)
            yield raw, call
        return
    unary: grpc.UnaryUnaryMultiCallable[bytes, bytes] = channel.unary_unary(path, None, None)
    flying: Flying = []
    for raw in bodies:
        flying.append((raw, unary.future(raw, timeout=SECONDS)))
        if len(flying) == AT_ONCE:
            yield from _landed(flying)
            flying = []
    yield from _landed(flying)


def _landed(flying: Flying) -> Iterator[tuple[bytes, Any]]:
    for raw, call in flying:
        call.exception()
        yield raw, call


def _parses(kind: type[Message], raw: bytes) -> bool:
    try:
        kind().ParseFromString(raw)
    except DecodeError:
        return False
    return True


def to_frames(draws: int, seed: int = 1) -> Counter[str]:
    """So many streams of bytes to the reader of frames: messages, or a FrameError and nothing else."""
    dice, seen = random.Random(f"frames {seed}"), Counter[str]()
    for _ in range(draws):
        body = malformed(LocalRequest, dice)
        size = dice.choice((len(body), len(body), dice.randrange(2**32), dice.randrange(300)))
        ours, theirs = socket.socketpair()
        with ours, theirs:
            theirs.sendall(struct.pack(">I", size) + body)
            theirs.shutdown(socket.SHUT_WR)
            try:
                while frames.read(ours.fileno(), LocalRequest) is not None:
                    seen["read"] += 1
            except frames.FrameError:
                seen["refused"] += 1
    return seen


def to_worker(draws: int, place: Path, seed: int = 1) -> Counter[str]:
    """So many callers of a running worker, each with bytes that are no request; the worker answers the last one."""
    dice, seen = random.Random(f"worker {seed}"), Counter[str]()
    for _ in range(draws):
        # Without the requests that it would carry out: a check is no malformed one.
        body = dice.randbytes(dice.randrange(1, 100))
        size = dice.choice((len(body), len(body), 2**32 - 1, len(body) + 1))
        with socket.socket(socket.AF_UNIX) as caller:
            caller.connect(str(place))
            with contextlib.suppress(BrokenPipeError):
                caller.sendall(struct.pack(">I", size) + body)
                caller.shutdown(socket.SHUT_WR)
            try:
                made = frames.read(caller.fileno(), LocalResponse, time.monotonic() + SECONDS)
            except (frames.FrameError, ConnectionResetError):
                made = None
            seen[made.WhichOneof("response") or "empty" if made else "hung up"] += 1
    return seen
