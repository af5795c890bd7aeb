"""Reads a YAML or JSON source: groups by name, each with hosts, vars and children."""

from controller.inventory.draft import Draft
from controller.inventory.names import shown
from controller.inventory.origins import InventoryError, Origin
from controller.inventory.sources.groups import SHAPE, Groups
from controller.inventory.sources.table import Table
from controller.inventory.sources.yaml_document import parse


def read(text: str, file: str, draft: Draft) -> None:
    """Add a YAML source's groups, hosts and variables to the draft. Raises InventoryError at what is wrong."""
    content, line = parse(text, file)
    if content is None:
        return
    if not isinstance(content, Table):
        raise InventoryError.at(Origin(file, line), "the file is not a mapping of groups", SHAPE)
    groups = Groups(file, draft)
    if isinstance(content.get("plugin"), str):
        what = f"the configuration of the inventory plugin {shown(content['plugin'])}, which only Ansible can run"
        groups.refuse(content, "plugin", what, "try --inventory-backend ansible")
    if "_meta" in content:
        groups.refuse(
            content,
            "_meta",
            "the answer of an inventory script",
            "write plain YAML (group: {hosts: {name: {}}}), or name the script that prints it",
        )
    groups.take(content)
