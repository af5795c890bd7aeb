"""What the desk remembers: one SQLite file with the event log, and every run."""
