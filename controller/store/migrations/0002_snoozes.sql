-- What was asked besides the pattern, as flags: two runs with different questions can't be compared wholly.
ALTER TABLE runs ADD COLUMN asked TEXT NOT NULL DEFAULT '';
CREATE INDEX runs_by_question ON runs (pattern, inventory, asked, started_at);

-- Findings that somebody wants quiet for a while. Rows stay when they end: an older run is shown as it was.
CREATE TABLE snoozes (
    id TEXT PRIMARY KEY,
    finding TEXT NOT NULL,
    subject TEXT NOT NULL,
    reason TEXT NOT NULL,
    actor TEXT NOT NULL,
    begins_at REAL NOT NULL,
    until REAL NOT NULL,
    ended_at REAL,
    ended_by TEXT NOT NULL DEFAULT ''
);
CREATE INDEX snoozes_by_end ON snoozes (until);

-- What each of them is about, as bad as it was then: what gets worse is shown again.
CREATE TABLE snoozed (
    snooze TEXT NOT NULL REFERENCES snoozes (id),
    host TEXT NOT NULL,
    service TEXT NOT NULL,
    kind TEXT NOT NULL,
    name TEXT NOT NULL,
    status INTEGER NOT NULL,
    PRIMARY KEY (snooze, host, service, kind, name)
) WITHOUT ROWID;
