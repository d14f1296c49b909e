-- Videos, jobs, and what happened. SQL that Postgres knows too.
-- Times are milliseconds since 1970 UTC; ids are UUIDs (version 7) in lower case; yes is 1 and no is 0.

CREATE TABLE videos (
    id                 TEXT PRIMARY KEY,
    owner              TEXT NOT NULL,
    name               TEXT NOT NULL,
    -- uploading, stored, deleted
    state              TEXT NOT NULL,
    -- Bytes of the original, and how many of them have arrived and are sealed.
    length             BIGINT NOT NULL,
    received           BIGINT NOT NULL,
    -- The original's own key, sealed by the server's; NULL once the original is gone for good.
    sealed_key         BYTEA,
    -- Where the original is as an object that somebody else wrote, unsealed; NULL for uploads.
    object             TEXT,
    -- What happens to the original once a version is published: NULL: it stays, else it is destroyed
    -- that many milliseconds later.
    original_grace     BIGINT,
    original_delete_at BIGINT,
    -- What a probe said of it, as JSON.
    info               TEXT,
    -- The version that is public; NULL: none.
    published          BIGINT,
    created_at         BIGINT NOT NULL,
    -- When something of the original arrived last.
    heard_at           BIGINT NOT NULL,
    -- When all of it is deleted; NULL: never.
    expires_at         BIGINT
);
CREATE INDEX videos_owner ON videos (owner, id);
CREATE INDEX videos_expiry ON videos (expires_at);
CREATE INDEX videos_original ON videos (original_delete_at);

-- Records of a sealed original, in order of `start`.
CREATE TABLE parts (
    video   TEXT NOT NULL REFERENCES videos (id) ON DELETE CASCADE,
    start   BIGINT NOT NULL,
    length  BIGINT NOT NULL,
    object  TEXT NOT NULL,
    PRIMARY KEY (video, start)
);

-- Covered files that were made of a video. Numbers are never given twice.
CREATE TABLE versions (
    video         TEXT NOT NULL REFERENCES videos (id) ON DELETE CASCADE,
    number        BIGINT NOT NULL,
    -- published, superseded, withdrawn
    state         TEXT NOT NULL,
    job           TEXT NOT NULL,
    -- Folder of its objects, and their names and sizes as JSON.
    folder        TEXT NOT NULL,
    files         TEXT NOT NULL,
    bytes         BIGINT NOT NULL,
    -- What was asked for, as JSON; a version that is made to replace this one is made the same way.
    options       TEXT NOT NULL,
    -- Hash of the file that its plan is good for.
    plan_of       TEXT,
    -- When the consent of somebody it shows ends by itself.
    consent_until BIGINT,
    created_at    BIGINT NOT NULL,
    ended_at      BIGINT,
    reason        TEXT,
    PRIMARY KEY (video, number)
);
CREATE INDEX versions_consent ON versions (consent_until);

-- Whom a version shows. The person may be gone meanwhile.
CREATE TABLE shown (
    video   TEXT NOT NULL,
    number  BIGINT NOT NULL,
    person  TEXT NOT NULL,
    PRIMARY KEY (video, number, person),
    FOREIGN KEY (video, number) REFERENCES versions (video, number) ON DELETE CASCADE
);
CREATE INDEX shown_person ON shown (person);

-- Objects in the watched folder that were taken up.
CREATE TABLE watched (
    object    TEXT PRIMARY KEY,
    -- What tells this content from another of the same name.
    mark      TEXT NOT NULL,
    video     TEXT NOT NULL,
    taken_at  BIGINT NOT NULL
);

-- Objects, or folders of them (with a slash at the end), that nothing refers to any more.
CREATE TABLE garbage (
    object  TEXT PRIMARY KEY,
    since   BIGINT NOT NULL
);

CREATE TABLE jobs (
    id            TEXT PRIMARY KEY,
    owner         TEXT NOT NULL,
    kind          TEXT NOT NULL,
    video         TEXT,
    -- What is to be done, as JSON.
    work          TEXT NOT NULL,
    tag           TEXT,
    priority      BIGINT NOT NULL,
    -- waiting (for `pending` others), queued, running, done, failed, cancelled
    state         TEXT NOT NULL,
    run_at        BIGINT NOT NULL,
    -- Number of the last claim, and how many claims count as tries.
    attempt       BIGINT NOT NULL,
    tries         BIGINT NOT NULL,
    worker        TEXT,
    lease_until   BIGINT,
    -- Thousandths of `phase` that are done.
    progress      BIGINT NOT NULL,
    phase         TEXT,
    cancel        BIGINT NOT NULL,
    -- What came of it, as JSON.
    result        TEXT,
    code          TEXT,
    message       TEXT,
    -- The job that must be done before it.
    parent        TEXT,
    -- The job that it is a part of.
    part_of       TEXT,
    -- The claim at which a job was split, in that job and in its parts; where that job is, as JSON.
    round         BIGINT,
    stage         TEXT,
    -- How many jobs must be done before it goes on.
    pending       BIGINT NOT NULL,
    created_at    BIGINT NOT NULL,
    started_at    BIGINT,
    ended_at      BIGINT
);
CREATE INDEX jobs_part_of ON jobs (part_of);
CREATE INDEX jobs_next ON jobs (state, priority, run_at);
CREATE INDEX jobs_owner ON jobs (owner, id);
CREATE INDEX jobs_video ON jobs (video);
CREATE INDEX jobs_parent ON jobs (parent);

-- The outbox: written in the transaction of what it tells.
CREATE TABLE events (
    seq      BIGINT PRIMARY KEY,
    id       TEXT NOT NULL UNIQUE,
    owner    TEXT NOT NULL,
    type     TEXT NOT NULL,
    subject  TEXT NOT NULL,
    at       BIGINT NOT NULL,
    data     TEXT NOT NULL
);
CREATE INDEX events_owner ON events (owner, seq);
CREATE INDEX events_at ON events (at);

-- One row: the last number given. Taking it is what puts events in order.
CREATE TABLE event_head (
    id   BIGINT PRIMARY KEY,
    seq  BIGINT NOT NULL
);
INSERT INTO event_head (id, seq) VALUES (1, 0);

CREATE TABLE webhooks (
    id             TEXT PRIMARY KEY,
    owner          TEXT NOT NULL,
    url            TEXT NOT NULL,
    -- Types of events, separated by spaces; empty: all.
    types          TEXT NOT NULL,
    -- cloudevents, sns
    format         TEXT NOT NULL,
    sealed_secret  BYTEA NOT NULL,
    created_at     BIGINT NOT NULL
);
CREATE INDEX webhooks_owner ON webhooks (owner);

CREATE TABLE deliveries (
    id           TEXT PRIMARY KEY,
    webhook      TEXT NOT NULL REFERENCES webhooks (id) ON DELETE CASCADE,
    event        BIGINT NOT NULL,
    -- due, sending, delivered, dead
    state        TEXT NOT NULL,
    attempt      BIGINT NOT NULL,
    next_at      BIGINT NOT NULL,
    lease_until  BIGINT,
    -- HTTP status of the last answer, or what went wrong.
    status       BIGINT,
    error        TEXT,
    created_at   BIGINT NOT NULL,
    ended_at     BIGINT,
    UNIQUE (webhook, event)
);
CREATE INDEX deliveries_next ON deliveries (state, next_at);
CREATE INDEX deliveries_webhook ON deliveries (webhook, state);
