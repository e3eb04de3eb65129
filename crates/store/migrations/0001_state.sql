-- Times are whole nanoseconds since the Unix epoch, on the fleet's clock (virtual for twins).
-- AUTOINCREMENT: a number is never given twice, even after the rows that had it are deleted.

CREATE TABLE twin_input (
    seq   INTEGER PRIMARY KEY AUTOINCREMENT,
    at_ns INTEGER NOT NULL,
    body  BLOB    NOT NULL
) STRICT;

CREATE TABLE twin_snapshot (
    one   INTEGER PRIMARY KEY CHECK (one = 1),
    at_ns INTEGER NOT NULL,
    body  BLOB    NOT NULL
) STRICT;

CREATE TABLE twin_clock (
    one   INTEGER PRIMARY KEY CHECK (one = 1),
    at_ns INTEGER NOT NULL
) STRICT;

CREATE TABLE journal (
    seq   INTEGER PRIMARY KEY AUTOINCREMENT,
    at_ns INTEGER NOT NULL,
    kind  TEXT    NOT NULL,
    key   TEXT    NOT NULL,
    body  TEXT    NOT NULL
) STRICT;
CREATE INDEX journal_by_key ON journal (key, seq);

CREATE TABLE ledger (
    seq         INTEGER PRIMARY KEY AUTOINCREMENT,
    id          TEXT    NOT NULL UNIQUE,
    recorded_ns INTEGER NOT NULL,
    body        TEXT    NOT NULL
) STRICT;

-- The ledger is append-only for whoever opens this file, not only for this program.
CREATE TRIGGER ledger_never_changes BEFORE UPDATE ON ledger
BEGIN
    SELECT RAISE(ABORT, 'the ledger is append-only: write a new entry that corrects the old one');
END;
CREATE TRIGGER ledger_never_shrinks BEFORE DELETE ON ledger
BEGIN
    SELECT RAISE(ABORT, 'the ledger is append-only: nothing is ever taken out');
END;

CREATE TABLE setting (
    key   TEXT PRIMARY KEY,
    value TEXT NOT NULL
) STRICT, WITHOUT ROWID;
