"""What is measured, and on what: the installed program, its bytecode, and the machine."""

import compileall
import importlib.metadata
import os
import platform
import sys
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parent.parent
PROGRAM = Path(sys.executable).parent / "fleetmedic"
COMPILED = ("agent", "controller", "protos", "benchmarks")


def machine() -> dict[str, str]:
    """What the figures were measured on."""
    processors = Path("/proc/cpuinfo").read_text().splitlines()
    models = [line.partition(":")[2].strip() for line in processors if line.startswith("model name")]
    model = models[0] if models else platform.machine()
    return {
        "processor": f"{len(os.sched_getaffinity(0))} cores of {model}",
        "system": platform.platform(),
        "python": platform.python_version(),
        "grpcio": importlib.metadata.version("grpcio"),
        "load before": f"{os.getloadavg()[0]:.2f}",
    }


def compile_bytecode() -> None:
    """Compiles our own modules, as an installer does with all that it installs."""
    for name in COMPILED:
        compileall.compile_dir(REPOSITORY / name, quiet=1)
