"""A broken glass as an event of the store, so that the post-mortem knows of it."""

import sqlite3
from datetime import datetime

from controller.store import events


def note(base: sqlite3.Connection, user: str, role: str, reason: str, actor: str, now: datetime) -> None:
    """The caller has opened the store before anything was signed, and says what is wrong with it."""
    at = now.timestamp()
    text = f"the glass was broken: {user} is {role} for an hour: {reason}"
    data = {"user": user, "role": role, "reason": reason}
    with base:
        base.execute("BEGIN IMMEDIATE")
        events.append(base, events.Event(at, "break-glass", actor, "controller", text, data), at)
