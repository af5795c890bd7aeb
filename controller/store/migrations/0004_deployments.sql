-- What agents told of containers that were deployed of late, on healthy hosts too: the first question of any incident.
CREATE TABLE deployments (
    run TEXT NOT NULL REFERENCES runs (id),
    host TEXT NOT NULL,
    service TEXT NOT NULL,
    name TEXT NOT NULL,
    release TEXT NOT NULL,
    at REAL NOT NULL
);
CREATE INDEX deployments_by_time ON deployments (at);
