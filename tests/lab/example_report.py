"""`make example`: the demo's lock fault, looked at before, during and after, and the report that is made of it.

Run in the sandbox, where services have the ports and folders that they usually have.
"""

import argparse
import contextlib
import shutil
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from tests.lab import demo
from tests.lab.agents import Desk
from tests.lab.demo import Places, Stage

TITLE = "Orders time out behind a locked row"
USUAL = Places(postgres=5432, redis=6379, app=8000, sockets=Path("/run/postgresql"))


@contextlib.contextmanager
def stage(folder: Path) -> Iterator[Stage]:
    with demo.stage(folder, time.monotonic(), USUAL) as running:
        yield running


def play(running: Stage, pause: float) -> list[str]:
    """Plays a healthy check, two during the fault and one after its cure, `pause` seconds apart; gives their names."""
    made = [_check(running, 0)]
    time.sleep(pause)
    with demo.lock(running):
        for _ in range(2):
            made.append(_check(running, 2))
            time.sleep(pause)
    made.append(_check(running, 0))
    return made


def _check(running: Stage, code: int) -> str:
    services = [word for name in demo.SERVICES for word in ("--service", name)]
    done = running.desk.run("check", "-i", running.inventory.name, *services, "--json")
    assert done.code == code, (done.out, done.err)
    return str(done.json()["run"])


def report(desk: Desk, folder: Path) -> list[Path]:
    """Makes the report as a responder would, and gives the paths it says it wrote."""
    done = desk.run("report", "--title", TITLE, "--severity", "SEV2", "--output-dir", folder)
    assert done.code == 0, done.err
    return [Path(line.removeprefix("wrote ")) for line in done.out.splitlines() if line.startswith("wrote ")]


def main() -> int:
    parser = argparse.ArgumentParser(description="Plays an incident and writes its report.")
    parser.add_argument("folder", type=Path)
    parser.add_argument("--pause", type=float, default=40.0, help="Seconds between the checks [default: 40].")
    arguments = parser.parse_args()
    place = Path(tempfile.mkdtemp(prefix="fm-example-"))
    place.chmod(0o755)
    try:
        with stage(place) as running:
            play(running, arguments.pause)
            for file in report(running.desk, place / "made"):
                arguments.folder.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(file, arguments.folder / f"incident-report{file.suffix}")
    finally:
        shutil.rmtree(place, ignore_errors=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
