"""What treats: a file per action, each with a plan, what it does, and how that is undone.

They are imported when one is asked for, in the process that plans or acts: psycopg and the Docker SDK never enter the
worker.
"""

import importlib
from collections.abc import Iterator
from types import ModuleType

from agent.action import Treatment
from fleetmedic.v1.action_pb2 import Action

ARMS = tuple(field.name for field in Action.DESCRIPTOR.fields)


def of(action: Action) -> Treatment | None:
    """The treatment of an action; None where this version has none, or none is named."""
    arm = action.WhichOneof("action")
    return _of(arm) if arm else None


def every() -> Iterator[Treatment]:
    """Those of this version."""
    for arm in ARMS:
        if (found := _of(arm)) is not None:
            yield found


def _of(arm: str) -> Treatment | None:
    name = f"{__name__}.{arm}"
    try:
        return _treatment(arm, importlib.import_module(name))
    except ModuleNotFoundError as error:
        if error.name != name:
            raise
        return None


def _treatment(arm: str, module: ModuleType) -> Treatment:
    """TypeError, naming the file, where it is no action."""
    title = (module.__doc__ or "").partition("\n")[0].strip()
    missing = [name for name in ("RISK", "CURES", "SETTLE", "plan", "apply", "happened") if not hasattr(module, name)]
    if missing or not title:
        raise TypeError(f"{module.__name__}: an action has a docstring and {', '.join(missing)}")
    return Treatment(
        name=arm.replace("_", "-"),
        arm=arm,
        title=title,
        risk=module.RISK,
        cures=tuple(module.CURES),
        settle=float(module.SETTLE),
        plan=module.plan,
        apply=module.apply,
        happened=module.happened,
        undo=getattr(module, "undo", lambda _: None),
        askable=getattr(module, "ASKABLE", True),
    )
