"""Makes targets on loopback that never give an answer: they refuse, stay silent after accepting, or drop every SYN.

As a program it prints "name address port kind" lines and holds the ports until its standard input ends.
"""

import argparse
import socket
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass

KINDS = ("refused", "silent", "blackhole")
ROOM_FOR_ALL = 64


@dataclass(frozen=True)
class DeadHost:
    """A target and how it fails; `name` is its inventory name."""

    name: str
    address: str
    port: int
    kind: str


@contextmanager
def dead_hosts(address: str, of_each: int) -> Iterator[list[DeadHost]]:
    """Holds `of_each` ports of every kind on `address` while the context lasts."""
    with ExitStack() as held:
        hosts = []
        for kind in KINDS:
            for i in range(of_each):
                port = _hold(held, address, kind)
                hosts.append(DeadHost(f"dead-{kind}-{i:02d}", address, port, kind))
        yield hosts


def _hold(held: ExitStack, address: str, kind: str) -> int:
    """Takes a free port and makes it fail as `kind` says; answers the port."""
    holder = held.enter_context(socket.socket())
    holder.bind((address, 0))
    port = int(holder.getsockname()[1])
    if kind == "silent":
        # Never accepted here: the kernel completes the TCP handshake, and nobody ever says a word.
        holder.listen(ROOM_FOR_ALL)
    elif kind == "blackhole":
        # One connection fills a backlog of 0; Linux drops the SYN of every later one. No right is needed for that.
        holder.listen(0)
        held.enter_context(socket.create_connection((address, port)))
    # A port that is bound and does not listen refuses, and nobody else can take it.
    return port


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--address", default="127.0.11.1")
    parser.add_argument("--of-each", type=int, default=30, help="how many of each kind")
    given = parser.parse_args()
    with dead_hosts(given.address, given.of_each) as hosts:
        for host in hosts:
            print(host.name, host.address, host.port, host.kind)
        print("ready", flush=True)
        sys.stdin.read()


if __name__ == "__main__":
    main()
