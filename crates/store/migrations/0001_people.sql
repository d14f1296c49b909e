-- People, their consent, and the audit log. SQL that Postgres knows too.
-- Times are milliseconds since 1970 UTC; ids are UUIDs (version 7) in lower case.

CREATE TABLE collections (
    id          TEXT PRIMARY KEY,
    -- The user it belongs to.
    owner       TEXT NOT NULL,
    name        TEXT NOT NULL,
    created_at  BIGINT NOT NULL,
    UNIQUE (owner, name)
);

CREATE TABLE people (
    id          TEXT PRIMARY KEY,
    collection  TEXT NOT NULL REFERENCES collections (id),
    name        TEXT NOT NULL,
    -- The person's own key, sealed by the server's. Without it the rest is noise.
    sealed_key  BYTEA NOT NULL,
    created_at  BIGINT NOT NULL,
    UNIQUE (collection, name)
);

CREATE TABLE photos (
    id              TEXT PRIMARY KEY,
    person          TEXT NOT NULL REFERENCES people (id) ON DELETE CASCADE,
    -- Both sealed by the person's key.
    sealed_picture  BYTEA NOT NULL,
    sealed_template BYTEA NOT NULL,
    created_at      BIGINT NOT NULL
);
CREATE INDEX photos_person ON photos (person);

CREATE TABLE consents (
    id            TEXT PRIMARY KEY,
    person        TEXT NOT NULL REFERENCES people (id) ON DELETE CASCADE,
    given_by      TEXT NOT NULL,
    how           TEXT NOT NULL,
    scope         TEXT NOT NULL,
    given_at      BIGINT NOT NULL,
    expires_at    BIGINT,
    withdrawn_at  BIGINT,
    withdrawn_by  TEXT
);
CREATE INDEX consents_person ON consents (person);

-- Appended to, never changed. `hash` is a MAC over the row and the hash before it.
CREATE TABLE audit (
    seq      BIGINT PRIMARY KEY,
    at       BIGINT NOT NULL,
    actor    TEXT NOT NULL,
    action   TEXT NOT NULL,
    subject  TEXT NOT NULL,
    detail   TEXT NOT NULL,
    hash     TEXT NOT NULL
);

-- One row: the last of the above, so that rows cut off the end are missed.
CREATE TABLE audit_head (
    id    BIGINT PRIMARY KEY,
    seq   BIGINT NOT NULL,
    hash  TEXT NOT NULL
);
INSERT INTO audit_head (id, seq, hash) VALUES (1, 0, '');

CREATE TABLE settings (
    name   TEXT PRIMARY KEY,
    value  TEXT NOT NULL
);
