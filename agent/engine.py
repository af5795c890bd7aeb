"""The Docker engine's socket, read only: this client can send GET and nothing else.

The SDK costs 47 ms of CPU and 11 MB in every job that imports it, and can do everything to the host; the checks need
seven GETs (docs/decisions/0006-docker-get-only.md). Actions, which need more, use the SDK.
"""

import http.client
import json
import socket
from dataclasses import dataclass
from urllib.parse import quote

LARGEST_ANSWER = 32 * 1024 * 1024


class EngineError(Exception):
    """The engine answered with an error; the message is its own, `status` that of HTTP (0 for no HTTP answer)."""

    def __init__(self, message: str, status: int = 0) -> None:
        super().__init__(message)
        self.status = status


class _UnixConnection(http.client.HTTPConnection):
    def __init__(self, path: str, timeout: float) -> None:
        super().__init__("localhost", timeout=timeout)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self.timeout)
        self.sock.connect(self._path)


@dataclass(frozen=True, slots=True)
class Engine:
    """One engine at a UNIX socket; `timeout` in seconds bounds each read, the job's budget bounds the whole."""

    socket_path: str
    timeout: float

    def get(self, path: str) -> object:
        """The decoded JSON (or text) of a GET. OSError and EngineError where there is none."""
        answer, body = self._ask(path, LARGEST_ANSWER + 1)
        if answer.length and len(body) <= LARGEST_ANSWER:
            raise EngineError("no HTTP answer: IncompleteRead")
        if len(body) > LARGEST_ANSWER:
            raise EngineError(f"an answer over {LARGEST_ANSWER} bytes")
        if answer.status != http.client.OK:
            raise EngineError(f"{answer.status} {answer.reason}", answer.status)
        if answer.getheader("Content-Type", "").startswith("application/json"):
            try:
                decoded: object = json.loads(body)
            except ValueError as error:
                raise EngineError("the answer is no JSON") from error
            return decoded
        return body.decode(errors="replace")

    def _ask(self, path: str, most: int) -> tuple[http.client.HTTPResponse, bytes]:
        connection = _UnixConnection(self.socket_path, self.timeout)
        try:
            connection.request("GET", path)
            answer = connection.getresponse()
            return answer, answer.read(most)
        except http.client.HTTPException as error:
            raise EngineError(f"no HTTP answer: {type(error).__name__}") from error
        finally:
            connection.close()

    def log(self, identity: str, since: int, lines: int, most: int, *, timestamps: bool = False) -> bytes:
        """The last `lines` of a container since a time, at most `most` bytes, as the engine frames them."""
        query = f"stdout=1&stderr=1&since={since:d}&tail={lines:d}&timestamps={timestamps:d}"
        answer, body = self._ask(f"/containers/{quote(identity, safe='')}/logs?{query}", most)
        if answer.status != http.client.OK:
            raise EngineError(f"{answer.status} {answer.reason}", answer.status)
        return body

    def containers(self) -> list[dict[str, object]]:
        return _objects(self.get("/containers/json?all=1"))

    def inspect(self, identity: str) -> dict[str, object]:
        return _object(self.get(f"/containers/{quote(identity, safe='')}/json"))

    def version(self) -> dict[str, object]:
        return _object(self.get("/version"))

    def info(self) -> dict[str, object]:
        return _object(self.get("/info"))

    def ping(self) -> None:
        self.get("/_ping")


def _object(answer: object) -> dict[str, object]:
    if not isinstance(answer, dict):
        raise EngineError("the answer is not an object")
    return answer


def _objects(answer: object) -> list[dict[str, object]]:
    if not isinstance(answer, list):
        raise EngineError("the answer is not a list")
    return [_object(item) for item in answer]
