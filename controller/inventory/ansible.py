"""Lets Ansible's own command read the sources: for plugins, vaults and what else only it can."""

import json
import re
import shutil
import time
from collections.abc import Mapping, Sequence

from controller.inventory.draft import Draft
from controller.inventory.graph import Inventory
from controller.inventory.loading import is_host_list, refuse_missing
from controller.inventory.names import shown
from controller.inventory.origins import InventoryError
from controller.inventory.program import TooMuch, TooSlow, run
from controller.inventory.sources import script_answer

PROGRAM = "ansible-inventory"
SECONDS = 120.0
"""It takes about 1 ms for a host, and there may be 50,000."""
MAX_BYTES = 256 * 1024 * 1024
MAX_COMPLAINT = 8 * 1024 * 1024

# It ends with 0 though it left something out; these make it say so, or end with 1.
_STRICT = {
    "ANSIBLE_INVENTORY_ANY_UNPARSED_IS_FAILED": "1",
    "ANSIBLE_INVENTORY_UNPARSED_FAILED": "1",
    "ANSIBLE_DUPLICATE_YAML_DICT_KEY": "warn",
    "ANSIBLE_LOCALHOST_WARNING": "0",
    "ANSIBLE_INVENTORY_UNPARSED_WARNING": "1",
    "ANSIBLE_NOCOLOR": "1",
}
_LEFT_OUT = re.compile(r"\[WARNING\]:\s*(?:skipping|unable to parse|failed to parse)[^\n]*", re.IGNORECASE)
_WARNING = re.compile(r"\[WARNING\]:\s*([^\n]+)")
_MOST_WARNINGS = 20
_ERROR = re.compile(r"(?:\[ERROR\]|ERROR!)[: ]*([^\n]*)")


def load(sources: Sequence[str], environment: Mapping[str, str]) -> Inventory:
    """The inventory as Ansible has it, with every host's variables merged; groups have none of their own here.

    Raises InventoryError where the command is not there, fails, or leaves a source or a part of one out.
    """
    for source in sources:
        if not is_host_list(source):
            refuse_missing(source)
    program = shutil.which(PROGRAM, path=environment.get("PATH"))
    if program is None:
        raise InventoryError(f"{PROGRAM} is not on the PATH, and --inventory-backend ansible needs it; install Ansible")
    draft = Draft()
    answer, warnings = _listed(program, sources, environment)
    script_answer.take(answer, PROGRAM, draft, lambda _: {})
    for warning in warnings:
        draft.names.warn(warning, f"{PROGRAM}: {warning}")
    return draft.finish(sources)


def _listed(
    program: str, sources: Sequence[str], environment: Mapping[str, str]
) -> tuple[Mapping[str, object], list[str]]:
    """Its answer, and what it warns of: keys that stand twice, among others."""
    named = [word for source in sources for word in ("-i", source)]
    command = [program, "--list", *named]
    try:
        done = run(command, time.monotonic() + SECONDS, MAX_BYTES, MAX_COMPLAINT, {**environment, **_STRICT})
    except TooSlow:
        raise InventoryError(f"{PROGRAM} took longer than {SECONDS:g}s; run it by hand to see why") from None
    except TooMuch:
        raise InventoryError(f"{PROGRAM} prints more than {MAX_BYTES >> 20} MiB; run it by hand to see why") from None
    except OSError as error:
        raise InventoryError(f"{PROGRAM} can't be run: {error.strerror}; install Ansible") from None
    if len(done.complaint) >= MAX_COMPLAINT:
        # What it left out may be told in what was cut off.
        raise InventoryError(f"{PROGRAM} warns for more than {MAX_COMPLAINT >> 20} MiB; run it by hand to see why")
    said = done.complaint.decode("utf-8", "replace")
    left_out = _LEFT_OUT.search(said)
    if done.code or left_out is not None:
        found = _ERROR.search(said)
        why = found[1] if found else left_out[0] if left_out else said.strip().rpartition("\n")[2]
        raise InventoryError(f"{' '.join(sources)}: {PROGRAM} says: {shown(why)}; run it by hand for the whole of it")
    try:
        answer = json.loads(done.output)
    except (ValueError, RecursionError):
        answer = None
    if not isinstance(answer, dict):
        raise InventoryError(f"{PROGRAM} printed no JSON object; run it by hand to see why")
    return answer, _WARNING.findall(said)[:_MOST_WARNINGS]
