-- The heads of hosts' audit logs as their agents told them: a log that was cut or rewritten no longer has them.
CREATE TABLE audit_heads (
    host TEXT NOT NULL,
    sequence INTEGER NOT NULL,
    hash TEXT NOT NULL,
    at REAL NOT NULL,
    run TEXT NOT NULL,
    -- When somebody said that the log has begun anew, and these heads count no more.
    set_aside_at REAL,
    PRIMARY KEY (host, sequence, hash)
) WITHOUT ROWID;

-- The last of each host that counts.
CREATE TABLE audit_last (
    host TEXT PRIMARY KEY,
    sequence INTEGER NOT NULL,
    hash TEXT NOT NULL,
    at REAL NOT NULL,
    run TEXT NOT NULL
) WITHOUT ROWID;
