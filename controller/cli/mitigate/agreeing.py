"""Whether somebody has agreed to a plan: by a flag, or at a terminal; never by silence."""

import sys
from collections.abc import Sequence

import click

from controller.render import plan_text
from fleetmedic.v1.action_pb2 import RISK_HIGH, Plan


def need(plans: Sequence[Plan], names: Sequence[str], *, yes: bool, confirm: str | None) -> None:
    """`names` are what may be typed where the risk is high, the plan's first. UsageError where nobody agreed."""
    high = plan_text.risk(plans) >= RISK_HIGH
    if confirm is not None:
        if confirm not in names:
            raise click.UsageError(f"--confirm {confirm}: nothing was changed; it must be {_or(names)}")
        return
    if yes and not high:
        return
    if not (sys.stdin.isatty() and sys.stderr.isatty()):
        flag = f"--confirm {names[0]}" if high else "--yes"
        raise click.UsageError(
            "nothing was changed: nobody is asked where there is no terminal; to apply it: "
            f"fleetmedic mitigate apply {names[0]} {flag}"
        )
    if high:
        said = click.prompt(
            f"The risk is high. Type {_or(names)} to apply it", default="", show_default=False, err=True
        )
        agreed = said.strip() in names
    else:
        agreed = click.confirm(f"Apply {names[0]} to {len(plans)} host{'' if len(plans) == 1 else 's'}?", err=True)
    if not agreed:
        raise click.UsageError(f"nothing was changed.  To apply this plan:  fleetmedic mitigate apply {names[0]}")


def _or(names: Sequence[str]) -> str:
    return " or ".join(dict.fromkeys(names))
