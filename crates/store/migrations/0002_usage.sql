-- What clusters used, hour by hour. A later version of an hour is a row of its own.

CREATE TABLE usage (
    seq         INTEGER PRIMARY KEY AUTOINCREMENT,
    id          TEXT    NOT NULL UNIQUE,
    cluster     TEXT    NOT NULL,
    hour_ns     INTEGER NOT NULL,
    recorded_ns INTEGER NOT NULL,
    body        TEXT    NOT NULL
) STRICT;
CREATE INDEX usage_by_hour ON usage (hour_ns, cluster, seq);

-- Append-only like the ledger, for whoever opens this file.
CREATE TRIGGER usage_never_changes BEFORE UPDATE ON usage
BEGIN
    SELECT RAISE(ABORT, 'accounts of hours are append-only: write a new version that replaces the old one');
END;
CREATE TRIGGER usage_never_shrinks BEFORE DELETE ON usage
BEGIN
    SELECT RAISE(ABORT, 'accounts of hours are append-only: nothing is ever taken out');
END;
