"""Our own wheel, made of this very installation: from a wheel or an editable checkout, the same bytes each time."""

import base64
import hashlib
import importlib.metadata
import importlib.util
import io
import zipfile
from collections.abc import Iterator
from pathlib import Path

from controller import VERSION

NAME = f"fleetmedic-{VERSION}-py3-none-any.whl"
_PACKAGES = ("agent", "controller", "fleetmedic")
_RECORDS = f"fleetmedic-{VERSION}.dist-info"
_TAGS = "Wheel-Version: 1.0\nGenerator: fleetmedic\nRoot-Is-Purelib: true\nTag: py3-none-any\n"


def build() -> bytes:
    """The whole file. It is not compressed: another zlib would make other bytes, and so another bundle, of the same."""
    files = {**dict(_code()), **_metadata()}
    record = "".join(f"{name},sha256={_hash(content)},{len(content)}\n" for name, content in files.items())
    files[f"{_RECORDS}/RECORD"] = f"{record}{_RECORDS}/RECORD,,\n".encode()
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, content in files.items():
            entry = zipfile.ZipInfo(name)
            entry.external_attr = 0o644 << 16
            archive.writestr(entry, content)
    return buffer.getvalue()


def _code() -> Iterator[tuple[str, bytes]]:
    for package in _PACKAGES:
        spec = importlib.util.find_spec(package)
        assert spec is not None
        assert spec.submodule_search_locations
        root = spec.submodule_search_locations[0]
        for file in sorted(Path(root).rglob("*")):
            if file.is_file() and "__pycache__" not in file.parts:
                yield f"{package}/{file.relative_to(root).as_posix()}", file.read_bytes()


def _metadata() -> dict[str, bytes]:
    ours = importlib.metadata.distribution("fleetmedic")
    # Without the long description, which is no matter of a host's.
    head = (ours.read_text("METADATA") or "").partition("\n\n")[0] + "\n"
    made = {"METADATA": head, "WHEEL": _TAGS, "entry_points.txt": ours.read_text("entry_points.txt") or ""}
    return {f"{_RECORDS}/{name}": text.encode() for name, text in made.items()}


def requirements(wheel: bytes) -> tuple[str, ...]:
    """What such a wheel says it needs, extras too."""
    with zipfile.ZipFile(io.BytesIO(wheel)) as archive:
        lines = archive.read(f"{_RECORDS}/METADATA").decode().splitlines()
    return tuple(sorted(text for text in lines if text.startswith(("Requires-Dist:", "Requires-Python:"))))


def _hash(content: bytes) -> str:
    return base64.urlsafe_b64encode(hashlib.sha256(content).digest()).decode().rstrip("=")
