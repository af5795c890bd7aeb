-- Which checks a host was judged by: by it alone can a later reader tell "well again" from "not looked at".
-- Hosts of one kind share a row; `pairs` is JSON, a list of [check id, service].
CREATE TABLE looked (
    key INTEGER PRIMARY KEY,
    pairs TEXT NOT NULL UNIQUE
);

-- NULL in runs that were kept before this was.
ALTER TABLE reports ADD COLUMN looked INTEGER REFERENCES looked (key);
