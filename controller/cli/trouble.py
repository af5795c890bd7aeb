"""What a command says when it can't go on: one line, and the exit code of its kind."""

import traceback
from pathlib import Path

import click

from controller import exit_codes
from controller.bootstrap.bundle import BundleError
from controller.inventory.origins import InventoryError
from controller.render.escape import line
from controller.settings import SettingError
from controller.store.database import StoreError
from controller.transport.stdio import NoAgent
from controller.trust.away import BastionAway
from controller.trust.files import TrustError

CODES: tuple[tuple[type[Exception], int], ...] = (
    (InventoryError, exit_codes.BAD_DATA),
    (SettingError, exit_codes.BAD_DATA),
    (BundleError, exit_codes.BAD_DATA),
    (TrustError, exit_codes.NOT_PERMITTED),
    (BastionAway, exit_codes.UNREACHABLE),
    (NoAgent, exit_codes.NO_AGENT),
    (StoreError, exit_codes.OWN_ERROR),
)


def tell(error: Exception) -> int:
    for kind, code in CODES:
        if isinstance(error, kind):
            click.echo(f"fleetmedic: {line(str(error))}", err=True)
            return code
    if isinstance(error, OSError):
        where = f"{error.filename}: " if error.filename else ""
        click.echo(f"fleetmedic: {line(where)}{error.strerror or type(error).__name__}", err=True)
        return exit_codes.OWN_ERROR
    # Where it broke, not what it held: the text of an exception may quote a host or a secret.
    last = traceback.extract_tb(error.__traceback__)[-1]
    place = f"{Path(last.filename).name}:{last.lineno}"
    click.echo(f"fleetmedic: a bug of ours: {type(error).__name__} at {place}; please report this line", err=True)
    return exit_codes.OWN_ERROR
