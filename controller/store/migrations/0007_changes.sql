-- What was planned to be changed, and what became of it.
CREATE TABLE plans (
    name TEXT PRIMARY KEY,
    action TEXT NOT NULL,
    pattern TEXT NOT NULL,
    inventory TEXT NOT NULL,
    actor TEXT NOT NULL,
    reason TEXT NOT NULL,
    made_at REAL NOT NULL,
    -- When somebody began to apply it: that may be done once.
    applied_at REAL
) WITHOUT ROWID;

CREATE TABLE planned (
    plan TEXT NOT NULL REFERENCES plans (name),
    place INTEGER NOT NULL,
    host TEXT NOT NULL,
    state TEXT NOT NULL,
    cause TEXT NOT NULL,
    plan_id TEXT NOT NULL,
    digest BLOB NOT NULL,
    expires_at REAL NOT NULL,
    -- The agent's plan as it came; NULL where there is none.
    answer BLOB,
    PRIMARY KEY (plan, place)
) WITHOUT ROWID;

CREATE TABLE operations (
    operation_id TEXT PRIMARY KEY,
    plan TEXT NOT NULL REFERENCES plans (name),
    host TEXT NOT NULL,
    -- running until its end is known here.
    state TEXT NOT NULL,
    result TEXT NOT NULL,
    verdict TEXT NOT NULL,
    undoable INTEGER NOT NULL,
    actor TEXT NOT NULL,
    reason TEXT NOT NULL,
    began_at REAL NOT NULL,
    ended_at REAL,
    -- What the rules said before, as a CheckResponse: by it alone can a later look be compared.
    looked BLOB
) WITHOUT ROWID;
CREATE INDEX operations_by_plan ON operations (plan);
