-- Live channels, their sessions, and the servers that run them. SQL that Postgres knows too.
-- Times are milliseconds since 1970 UTC; ids are UUIDs (version 7) in lower case; yes is 1 and no is 0.

CREATE TABLE channels (
    id                TEXT PRIMARY KEY,
    -- Who has it now: an idle one may go to another user.
    owner             TEXT NOT NULL,
    name              TEXT NOT NULL,
    -- creating, idle, starting, running, stopping, recovering, create_failed, deleting
    state             TEXT NOT NULL,
    state_since       BIGINT NOT NULL,
    -- Why it is in this state, where that needs a reason.
    reason            TEXT,
    -- waiting, connected, starved, reconnecting, rejected
    ingest            TEXT NOT NULL,
    ingest_reason     TEXT,
    -- ok, degraded, blocked
    protection        TEXT NOT NULL,
    protection_reason TEXT,
    -- Name of the owner's collection whose people may be seen; NULL: everybody is covered.
    collection        TEXT,
    -- As JSON.
    policy            TEXT NOT NULL,
    -- Whether the whole picture is covered until somebody releases it.
    cover_all         BIGINT NOT NULL,
    -- SHA-256 of the stream key, hexadecimal; and the key, sealed by the server's: a repeated start gives it again.
    key_hash          TEXT NOT NULL UNIQUE,
    sealed_key        BYTEA NOT NULL,
    -- Goes up when whoever publishes is to be cut off: with a new key, and by request.
    admission         BIGINT NOT NULL,
    -- The session that is under way.
    session           TEXT,
    -- Number of the last claim; which server has it, and until when.
    claim             BIGINT NOT NULL,
    server            TEXT,
    lease_until       BIGINT,
    created_at        BIGINT NOT NULL
);
CREATE INDEX channels_owner ON channels (owner, id);
CREATE INDEX channels_next ON channels (state, lease_until);

-- The channel may be gone, or somebody else's, meanwhile.
CREATE TABLE sessions (
    id                TEXT PRIMARY KEY,
    channel           TEXT NOT NULL,
    owner             TEXT NOT NULL,
    collection        TEXT,
    started_at        BIGINT NOT NULL,
    ended_at          BIGINT,
    -- Why it ended, where nobody stopped it.
    reason            TEXT,
    first_publish_at  BIGINT,
    -- Who may watch: public, signed
    playback          TEXT NOT NULL,
    -- off, waiting, recording, finishing, ready, failed
    recording         TEXT NOT NULL,
    recording_reason  TEXT,
    -- What the recording becomes, or became.
    video             TEXT,
    -- Seals what the publisher sent until that is the original of the video; itself sealed by the server's key. NULL:
    -- nothing of it is kept, or it cannot be read any more.
    received_key      BYTEA,
    -- How much was recorded so far.
    segments          BIGINT NOT NULL,
    bytes             BIGINT NOT NULL,
    duration_ms       BIGINT NOT NULL
);
CREATE INDEX sessions_owner ON sessions (owner, channel, id);
CREATE INDEX sessions_video ON sessions (video);

-- Servers that run channels, how many each can, and where it is found by publishers and viewers.
CREATE TABLE live_servers (
    id           TEXT PRIMARY KEY,
    slots        BIGINT NOT NULL,
    lease_until  BIGINT NOT NULL,
    rtmp_url     TEXT,
    url          TEXT
);
