"""What was discovered, as tables of an agent.toml: whoever writes it down is told when one of it is gone for good."""

import json
from collections.abc import Iterable, Iterator

from fleetmedic.v1.snapshot_pb2 import Target


def render(targets: Iterable[Target]) -> str:
    """The same for the same targets in any order. What only a container can reach stays to be discovered."""
    blocks = {block for target in targets if target.origin == "discovered" for block in _block(target)}
    return "\n".join(sorted(blocks))


def _block(target: Target) -> Iterator[str]:
    if target.join_network or target.container_id:
        return
    if target.probe == "docker":
        yield f"[docker]\nsocket = {_text(target.socket)}\n"
    elif target.probe in ("postgres", "redis"):
        place = f"socket = {_text(target.socket)}" if target.socket else f"host = {_text(target.host)}"
        port = f"port = {target.port}\n" if target.port else ""
        yield f"[[{target.probe}]]\nservice = {_text(target.service)}\n{place}\n{port}"
    elif target.probe == "tls":
        host = f"[{target.host}]" if ":" in target.host else target.host
        yield f"[[tls_endpoint]]\nservice = {_text(target.service)}\naddress = {_text(f'{host}:{target.port}')}\n"


def _text(text: str) -> str:
    """A basic string: JSON's escapes are TOML's too, but for one character and for halves of others."""
    return json.dumps(text, ensure_ascii=False).replace("\x7f", "\\u007f")
