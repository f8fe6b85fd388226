-- The trail. A record's line is what counts, as its writer wrote it; the other columns and tables are what it is found by.
CREATE TABLE record (
    id INTEGER PRIMARY KEY CHECK (id > 0),
    line TEXT NOT NULL,
    time TEXT NOT NULL,
    writer TEXT NOT NULL,
    seq INTEGER NOT NULL,
    event_type TEXT NOT NULL,
    result TEXT NOT NULL,
    subject TEXT,
    task TEXT,
    resource TEXT,
    action TEXT,
    decision_id TEXT,
    UNIQUE (writer, seq)
) STRICT;
CREATE INDEX record_by_time ON record (time, writer, seq);
CREATE INDEX record_by_event_type ON record (event_type, time);
CREATE INDEX record_by_subject ON record (subject, time) WHERE subject IS NOT NULL;
CREATE INDEX record_by_decision_id ON record (decision_id) WHERE decision_id IS NOT NULL;

-- Everybody in a record's chain; `acts` is 1 for who did it.
CREATE TABLE party (
    name TEXT NOT NULL,
    acts INTEGER NOT NULL,
    record INTEGER NOT NULL,
    PRIMARY KEY (name, acts, record)
) STRICT, WITHOUT ROWID;

-- A record's task and every task above it.
CREATE TABLE task_member (
    task TEXT NOT NULL,
    record INTEGER NOT NULL,
    PRIMARY KEY (task, record)
) STRICT, WITHOUT ROWID;

CREATE TRIGGER record_is_never_changed BEFORE UPDATE ON record
BEGIN SELECT RAISE(ABORT, 'audit records are never changed'); END;
CREATE TRIGGER record_is_never_deleted BEFORE DELETE ON record
BEGIN SELECT RAISE(ABORT, 'audit records are never deleted'); END;
-- INSERT OR REPLACE deletes without asking the trigger above.
CREATE TRIGGER record_is_never_replaced BEFORE INSERT ON record
WHEN EXISTS (SELECT 1 FROM record WHERE id = NEW.id)
    OR EXISTS (SELECT 1 FROM record WHERE writer = NEW.writer AND seq = NEW.seq)
BEGIN SELECT RAISE(ABORT, 'audit records are never replaced'); END;

CREATE TRIGGER party_is_never_changed BEFORE UPDATE ON party
BEGIN SELECT RAISE(ABORT, 'audit records are never changed'); END;
CREATE TRIGGER party_is_never_deleted BEFORE DELETE ON party
BEGIN SELECT RAISE(ABORT, 'audit records are never deleted'); END;
CREATE TRIGGER task_member_is_never_changed BEFORE UPDATE ON task_member
BEGIN SELECT RAISE(ABORT, 'audit records are never changed'); END;
CREATE TRIGGER task_member_is_never_deleted BEFORE DELETE ON task_member
BEGIN SELECT RAISE(ABORT, 'audit records are never deleted'); END;
