-- Times are nanoseconds since 1970; paths are names from the root on, joined by `/`; lists are JSON.
-- `begun`: when the row was written; `ended`: when it ended, by whatever cause.
CREATE TABLE sessions (
    tenant TEXT NOT NULL, id TEXT NOT NULL, handle BLOB NOT NULL,
    person TEXT NOT NULL, issuer TEXT NOT NULL, subject TEXT NOT NULL, role TEXT NOT NULL,
    auth_time INTEGER NOT NULL, methods TEXT NOT NULL, class TEXT,
    created INTEGER NOT NULL, expires INTEGER NOT NULL,
    status TEXT NOT NULL, begun INTEGER NOT NULL, ended INTEGER, witnessed INTEGER NOT NULL DEFAULT 0,
    PRIMARY KEY (tenant, id)
) STRICT, WITHOUT ROWID;
CREATE UNIQUE INDEX sessions_by_handle ON sessions (tenant, handle);
CREATE INDEX sessions_by_person ON sessions (tenant, person);
CREATE INDEX sessions_by_status ON sessions (tenant, status, expires);

-- Names of tasks that were used once; kept for good.
CREATE TABLE task_names (
    tenant TEXT NOT NULL, person TEXT NOT NULL, id TEXT NOT NULL,
    PRIMARY KEY (tenant, person, id)
) STRICT, WITHOUT ROWID;

CREATE TABLE tasks (
    tenant TEXT NOT NULL, person TEXT NOT NULL, id TEXT NOT NULL,
    session TEXT NOT NULL, parent TEXT, path TEXT NOT NULL, owner TEXT NOT NULL, begun_under TEXT NOT NULL, purpose TEXT NOT NULL,
    created INTEGER NOT NULL, deadline INTEGER NOT NULL,
    status TEXT NOT NULL, begun INTEGER NOT NULL, ended INTEGER,
    PRIMARY KEY (tenant, person, id),
    FOREIGN KEY (tenant, session) REFERENCES sessions (tenant, id),
    FOREIGN KEY (tenant, person, parent) REFERENCES tasks (tenant, person, id)
) STRICT, WITHOUT ROWID;
CREATE INDEX tasks_by_session ON tasks (tenant, session);
CREATE INDEX tasks_by_parent ON tasks (tenant, person, parent);
CREATE INDEX tasks_by_status ON tasks (tenant, status, deadline);

CREATE TABLE grants (
    tenant TEXT NOT NULL, id TEXT NOT NULL,
    person TEXT NOT NULL, session TEXT NOT NULL, parent TEXT, path TEXT NOT NULL,
    task TEXT NOT NULL, task_path TEXT NOT NULL, begins_task INTEGER NOT NULL,
    holder TEXT NOT NULL, holder_type TEXT NOT NULL, agents TEXT NOT NULL,
    held TEXT NOT NULL, hops TEXT NOT NULL, audience TEXT NOT NULL, further INTEGER NOT NULL,
    created INTEGER NOT NULL, expires INTEGER NOT NULL,
    status TEXT NOT NULL, begun INTEGER NOT NULL, ended INTEGER,
    PRIMARY KEY (tenant, id),
    FOREIGN KEY (tenant, session) REFERENCES sessions (tenant, id),
    FOREIGN KEY (tenant, parent) REFERENCES grants (tenant, id),
    FOREIGN KEY (tenant, person, task) REFERENCES tasks (tenant, person, id)
) STRICT, WITHOUT ROWID;
CREATE INDEX grants_by_session ON grants (tenant, session, path);
CREATE INDEX grants_by_parent ON grants (tenant, parent);
CREATE INDEX grants_by_task ON grants (tenant, person, task);
CREATE INDEX grants_by_holder ON grants (tenant, holder);
CREATE INDEX grants_by_holder_type ON grants (tenant, holder_type);
CREATE INDEX grants_by_status ON grants (tenant, status, expires);

CREATE TABLE leases (
    tenant TEXT NOT NULL, token TEXT NOT NULL,
    "grant" TEXT NOT NULL, person TEXT NOT NULL, task TEXT NOT NULL, audience TEXT NOT NULL,
    issued INTEGER NOT NULL, expires INTEGER NOT NULL, ended INTEGER,
    PRIMARY KEY (tenant, token),
    FOREIGN KEY (tenant, "grant") REFERENCES grants (tenant, id)
) STRICT, WITHOUT ROWID;
CREATE INDEX leases_by_grant ON leases (tenant, "grant");
CREATE INDEX leases_by_task ON leases (tenant, person, task, expires);
CREATE INDEX leases_by_expiry ON leases (tenant, expires);

-- What was taken back, in order. `id` and `person` name it; `moment` is that of an epoch.
CREATE TABLE revocations (
    position INTEGER PRIMARY KEY AUTOINCREMENT,
    tenant TEXT NOT NULL, kind TEXT NOT NULL, id TEXT NOT NULL, person TEXT NOT NULL,
    moment INTEGER NOT NULL, until INTEGER NOT NULL
) STRICT;
CREATE INDEX revocations_by_end ON revocations (tenant, until);

CREATE TABLE requests (
    tenant TEXT NOT NULL, caller TEXT NOT NULL, id TEXT NOT NULL,
    digest BLOB NOT NULL, answer TEXT NOT NULL, until INTEGER NOT NULL,
    PRIMARY KEY (tenant, caller, id)
) STRICT, WITHOUT ROWID;
CREATE INDEX requests_by_end ON requests (tenant, until);
