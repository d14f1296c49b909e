-- Users, their API keys, and answers that are kept so that a repeated request gets the same one.

CREATE TABLE users (
    name            TEXT PRIMARY KEY,
    -- NULL: the server's.
    quota_bytes     BIGINT,
    retention_days  BIGINT,
    created_at      BIGINT NOT NULL
);

CREATE TABLE api_keys (
    id          TEXT PRIMARY KEY,
    -- SHA-256 of the secret, hexadecimal. The secret is random, so a slow hash would add nothing.
    hash        TEXT NOT NULL UNIQUE,
    owner       TEXT NOT NULL REFERENCES users (name),
    scopes      TEXT NOT NULL,
    label       TEXT NOT NULL,
    created_at  BIGINT NOT NULL,
    expires_at  BIGINT,
    revoked_at  BIGINT
);
CREATE INDEX api_keys_owner ON api_keys (owner);

-- By API key, not by user: who may ask less must not be given what another key was answered.
CREATE TABLE idempotency (
    api_key        TEXT NOT NULL REFERENCES api_keys (id) ON DELETE CASCADE,
    name           TEXT NOT NULL,
    request        TEXT NOT NULL,
    -- NULL while the first request is being worked on. Sealed: an answer may hold a new key.
    sealed_answer  BYTEA,
    created_at     BIGINT NOT NULL,
    PRIMARY KEY (api_key, name)
);
CREATE INDEX idempotency_created_at ON idempotency (created_at);
