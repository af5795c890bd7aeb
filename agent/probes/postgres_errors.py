"""What a refused login means: its class by the text, for a refused connection has no SQLSTATE (checks.md D4)."""

import re

# The first that matches; the classes are SQLSTATEs where PostgreSQL has one.
CLASSES: tuple[tuple[str, str], ...] = (
    (r"too many clients already|connection slots are reserved|too many connections for", "53300"),
    (r"Hot standby mode is disabled", "standby"),
    (
        r"starting up|in recovery mode|not (?:yet )?accepting connections|shutting down|recovery is in progress",
        "57P03",
    ),
    (r"password authentication failed|no password supplied|empty password", "28P01"),
    (
        r"no pg_hba\.conf entry|authentication failed for|role \".*\" does not exist|is not permitted to log in"
        r"|pg_hba\.conf rejects",
        "28000",
    ),
    (r"database \".*\" does not exist", "3D000"),
    (r"[Rr]ead-only file system", "read-only"),
    (r"No space left on device", "53100"),
    (r"timeout expired|connection timeout|[Tt]imed out|statement timeout|lock timeout", "timeout"),
    (r"Connection refused|No such file or directory", "refused"),
    (r"No route to host|Network is unreachable", "unreachable"),
    (r"server closed the connection|Connection reset|invalid response|SSL SYSCALL|lost synchronization", "cut"),
)


def classify(text: str) -> str:
    return next((name for pattern, name in CLASSES if re.search(pattern, text)), "unknown")


def first_line(text: str) -> str:
    """The line that says why; libpq puts a hint after it, and what was tried before it."""
    line = text.strip().partition("\n")[0]
    return line.rpartition("failed: ")[2] or line
