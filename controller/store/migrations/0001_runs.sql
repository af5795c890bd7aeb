-- Append only and chained: each hash covers the one before, so an edited or missing event is seen.
CREATE TABLE events (
    sequence INTEGER PRIMARY KEY,
    at REAL NOT NULL,
    recorded_at REAL NOT NULL,
    kind TEXT NOT NULL,
    actor TEXT NOT NULL,
    source TEXT NOT NULL,
    text TEXT NOT NULL,
    data TEXT NOT NULL,
    previous_hash TEXT NOT NULL,
    hash TEXT NOT NULL UNIQUE
);

CREATE TABLE runs (
    id TEXT PRIMARY KEY,
    kind TEXT NOT NULL,
    started_at REAL NOT NULL,
    seconds REAL NOT NULL,
    pattern TEXT NOT NULL,
    inventory TEXT NOT NULL,
    hosts INTEGER NOT NULL,
    checks INTEGER NOT NULL,
    exit_code INTEGER NOT NULL
);
CREATE INDEX runs_by_time ON runs (started_at);

-- One row for each selected host. The answer (CheckResponse, zlib) is kept of hosts with something bad.
CREATE TABLE reports (
    run TEXT NOT NULL REFERENCES runs (id),
    place INTEGER NOT NULL,
    host TEXT NOT NULL,
    state TEXT NOT NULL,
    cause TEXT NOT NULL,
    seconds REAL NOT NULL,
    clock_offset REAL,
    version TEXT NOT NULL,
    checks INTEGER NOT NULL,
    answer BLOB,
    PRIMARY KEY (run, host)
) WITHOUT ROWID;

-- What was warn, crit or error, for looking across runs.
CREATE TABLE findings (
    run TEXT NOT NULL REFERENCES runs (id),
    host TEXT NOT NULL,
    id TEXT NOT NULL,
    status INTEGER NOT NULL,
    service TEXT NOT NULL,
    kind TEXT NOT NULL,
    name TEXT NOT NULL,
    summary TEXT NOT NULL,
    first_seen_at REAL
);
CREATE INDEX findings_by_id ON findings (id, host);
CREATE INDEX findings_by_run ON findings (run);
