-- Clusters' days: sums of the lines of their hours up to number `last_seq`, one row a level. Derived from `usage`, and made anew
-- where lines were added since.

CREATE TABLE usage_day (
    level    TEXT    NOT NULL,
    day_ns   INTEGER NOT NULL,
    cluster  TEXT    NOT NULL,
    last_seq INTEGER NOT NULL,
    body     BLOB    NOT NULL,
    UNIQUE (level, day_ns, cluster)
) STRICT;
