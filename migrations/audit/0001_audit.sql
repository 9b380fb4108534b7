-- setkeeper's audit database. docs/audit.md explains it; the views at the end are what people query.
--
-- Times are milliseconds since 1970-01-01 UTC. A path stands below the environment's root, without a leading
-- slash. A change is named by its id, `<generation>:<path>@<czxid>.<version>`, with `-` as version for a delete.
-- Rows of audit_change, audit_outcome, audit_event and audit_chain are only ever added.

-- Where the auditor stands: one row, written in the transaction of the rows that it accounts for.
CREATE TABLE audit_stream (
    id                INTEGER PRIMARY KEY CHECK (id = 1),
    env               TEXT NOT NULL,
    changes_position  TEXT,               -- where to read the topic `changes` next
    outcomes_position TEXT,               -- where to read the topic `outcomes` next
    fence_generation  INTEGER NOT NULL,   -- the highest fence of an auditor that wrote here
    fence_czxid       INTEGER NOT NULL,
    watcher_generation INTEGER,           -- the highest fence read in `changes`: older records are dropped
    watcher_czxid     INTEGER,
    effective         INTEGER NOT NULL,   -- effective time of the last record
    resync            TEXT,               -- the resync that is open
    resync_needed     TEXT,               -- why the log does not tell all since the last whole resync
    head_seq          INTEGER NOT NULL,   -- the chain's last row
    head_hash         TEXT NOT NULL
) STRICT;

-- One row a change that ZooKeeper committed, as far as a feed could see it.
CREATE TABLE audit_change (
    seq            INTEGER PRIMARY KEY,   -- place in the chain, shared with outcomes and events
    change_id      TEXT NOT NULL UNIQUE,
    generation     INTEGER NOT NULL,
    path           TEXT NOT NULL,
    czxid          INTEGER NOT NULL,      -- the transaction that created this life of the znode
    version        INTEGER,               -- data version; NULL for a delete
    zxid           INTEGER,               -- of a delete at times an upper bound; NULL where only absence showed it
    mzxid          INTEGER,               -- the transaction that wrote the bytes
    op             TEXT NOT NULL,         -- put | delete
    source         TEXT NOT NULL,         -- stream | resync (re-read) | absence (a resync did not find the path)
    resync         TEXT,                  -- the resync's id
    kind           TEXT,                  -- database dataset chart dashboard setting endpoint approval folder
    uuid           TEXT,                  -- the asset's; of a delete, or of a document that names none, as before
    name           TEXT,                  -- the name that people know; of a delete, or without one, as before
    lifetime       TEXT,                  -- persistent | ephemeral | container | ttl
    author         TEXT,                  -- from the edit record written in the same transaction, else NULL
    message        TEXT,
    edit_id        TEXT,
    edit_of        TEXT,                  -- the first part's id
    edit_part      INTEGER,
    edit_parts     INTEGER,
    rollback_of    TEXT,
    traceparent    TEXT,
    committed      INTEGER NOT NULL,      -- by ZooKeeper's leader; of a lone delete when it was seen
    seen           INTEGER NOT NULL,      -- by the watcher
    effective      INTEGER NOT NULL,      -- max(previous effective, min(committed, seen))
    size           INTEGER,               -- of the stored bytes
    sha256         TEXT,                  -- of the stored bytes
    document       TEXT,                  -- canonical; redacted if it could not be used; never a secret
    document_state TEXT,                  -- canonical | redacted | withheld (nothing of it can be shown)
    document_hash  TEXT,                  -- of the canonical document
    missed         INTEGER NOT NULL,      -- versions of this life right before this one that are not on record
    missed_more    INTEGER NOT NULL,      -- 1: there may be more of them (`missed` is "at least")
    previous       TEXT,                  -- id of the change that stood at the path before
    fence          TEXT NOT NULL,         -- the watcher's, <generation>-<czxid>
    log            TEXT NOT NULL,         -- where the record stood on the queue
    log_offset     INTEGER NOT NULL
) STRICT;
CREATE INDEX audit_change_path ON audit_change (path, seq);
CREATE INDEX audit_change_uuid ON audit_change (uuid, seq) WHERE uuid IS NOT NULL;
CREATE INDEX audit_change_life ON audit_change (path, czxid, generation, version);
CREATE INDEX audit_change_author ON audit_change (author, seq) WHERE author IS NOT NULL;
CREATE INDEX audit_change_effective ON audit_change (effective);

-- One row an outcome: what one application of one change came to at one target.
CREATE TABLE audit_outcome (
    seq         INTEGER PRIMARY KEY,
    outcome_key TEXT NOT NULL UNIQUE,     -- <target id>/<applier's fence>/<sequence>
    target_id   TEXT NOT NULL,
    target      TEXT NOT NULL,
    change_id   TEXT NOT NULL,
    path        TEXT NOT NULL,
    uuid        TEXT,
    cause       TEXT NOT NULL,            -- change | reconcile
    verdict     TEXT NOT NULL,            -- held | applied | unchanged | superseded | skipped | rejected | deleted
    final       INTEGER NOT NULL,         -- 0: held, another outcome follows
    reason      TEXT,                     -- of a rejected one; of a held one what it waits for
    place       TEXT,                     -- where in the document
    waiting     TEXT,                     -- JSON: what a held one waits for
    also        TEXT,                     -- JSON: other managed paths whose rows were rewritten
    drifted     TEXT,                     -- what the rows held before, where that was not what had been applied
    replaced    TEXT,                     -- id of the change that the target had applied before
    committed   INTEGER NOT NULL,         -- by the applier, right before its transaction's commit
    log         TEXT NOT NULL,
    log_offset  INTEGER NOT NULL
) STRICT;
CREATE INDEX audit_outcome_change ON audit_outcome (change_id, target_id, seq);

-- What else a reader of the history should know: terms, resyncs, gaps, records that contradict one another.
CREATE TABLE audit_event (
    seq        INTEGER PRIMARY KEY,
    kind       TEXT NOT NULL,             -- term | resync-begin | resync-end | gap | conflict | unreadable
    effective  INTEGER NOT NULL,
    detail     TEXT NOT NULL,             -- JSON
    fence      TEXT,
    log        TEXT,
    log_offset INTEGER
) STRICT;

-- One dense sequence over the three tables above, each row chained to the one before it.
CREATE TABLE audit_chain (
    seq    INTEGER PRIMARY KEY,
    format TEXT NOT NULL,                 -- change.1 | outcome.1 | event.1
    hash   TEXT NOT NULL                  -- SHA-256 in hex, over the bytes that docs/audit.md defines
) STRICT;

-- Bookkeeping, not history: the live paths, and what each target has applied of them.
CREATE TABLE audit_tree (
    path       TEXT PRIMARY KEY,
    generation INTEGER NOT NULL,
    czxid      INTEGER NOT NULL,
    version    INTEGER NOT NULL,
    change_id  TEXT NOT NULL,
    resync     TEXT                       -- the open resync that has put it
) STRICT, WITHOUT ROWID;
CREATE TABLE audit_applied (
    target_id TEXT NOT NULL,
    path      TEXT NOT NULL,
    target    TEXT NOT NULL,
    uuid      TEXT,
    change_id TEXT,                       -- NULL: nothing of this path was applied yet
    PRIMARY KEY (target_id, path)
) STRICT, WITHOUT ROWID;
CREATE INDEX audit_applied_uuid ON audit_applied (target_id, uuid) WHERE uuid IS NOT NULL;
CREATE INDEX audit_applied_path ON audit_applied (path);

-- A guard against mistakes, not against an owner of the file: that is what the chain is for.
CREATE TRIGGER audit_change_kept BEFORE UPDATE ON audit_change
BEGIN SELECT RAISE(ABORT, 'rows of the audit are never changed'); END;
CREATE TRIGGER audit_change_stays BEFORE DELETE ON audit_change
BEGIN SELECT RAISE(ABORT, 'rows of the audit are never removed'); END;
CREATE TRIGGER audit_outcome_kept BEFORE UPDATE ON audit_outcome
BEGIN SELECT RAISE(ABORT, 'rows of the audit are never changed'); END;
CREATE TRIGGER audit_outcome_stays BEFORE DELETE ON audit_outcome
BEGIN SELECT RAISE(ABORT, 'rows of the audit are never removed'); END;
CREATE TRIGGER audit_event_kept BEFORE UPDATE ON audit_event
BEGIN SELECT RAISE(ABORT, 'rows of the audit are never changed'); END;
CREATE TRIGGER audit_event_stays BEFORE DELETE ON audit_event
BEGIN SELECT RAISE(ABORT, 'rows of the audit are never removed'); END;
CREATE TRIGGER audit_chain_kept BEFORE UPDATE ON audit_chain
BEGIN SELECT RAISE(ABORT, 'rows of the audit are never changed'); END;
CREATE TRIGGER audit_chain_stays BEFORE DELETE ON audit_chain
BEGIN SELECT RAISE(ABORT, 'rows of the audit are never removed'); END;

-- What happened, when, by whom, why, and what it came to. One row for each change and final outcome of it; a
-- change without a final one has a row for each target that holds it, or one row whose `outcome` is NULL (no
-- target has said anything yet). A change that was looked at once more and found done already is not repeated.
--
-- document_before: what the target had before; where no target is known, what stood at the path in ZooKeeper.
-- document_after:  what the change asked for; NULL for a delete. A rejected change left document_before in place.
-- delay_ms:        from ZooKeeper's commit to the metadata database's commit, by two clocks.
-- cause:           `reconcile` is a later look: a held change that became possible, a rotated secret, a restored
--                  database. Such a row of a change that was final before is a second write of the same document.
CREATE VIEW config_history AS
SELECT
    c.seq                                                                AS seq,
    strftime('%Y-%m-%dT%H:%M:%fZ', c.effective / 1000.0, 'unixepoch')    AS effective_time,
    c.path                                                               AS path,
    c.kind                                                               AS kind,
    c.uuid                                                               AS uuid,
    c.name                                                               AS name,
    c.op                                                                 AS op,
    c.author                                                             AS author,
    c.message                                                            AS message,
    o.target                                                             AS target,
    o.verdict                                                            AS outcome,
    o.reason                                                             AS reason,
    o.place                                                              AS place,
    coalesce(o.drifted, b.document)                                      AS document_before,
    c.document                                                           AS document_after,
    o.committed - c.committed                                            AS delay_ms,
    c.change_id                                                          AS change_id,
    c.edit_of                                                            AS edit,
    c.rollback_of                                                        AS rollback_of,
    c.source                                                             AS source,
    c.missed                                                             AS missed,
    c.missed_more                                                        AS missed_more,
    c.effective                                                          AS effective_ms,
    c.committed                                                          AS committed_ms,
    o.committed                                                          AS outcome_ms,
    o.waiting                                                            AS waiting,
    o.cause                                                              AS cause,
    o.also                                                               AS also,
    o.seq                                                                AS outcome_seq
FROM audit_change c
LEFT JOIN audit_outcome o
    ON  o.change_id = c.change_id
    AND (o.final = 1 OR NOT EXISTS (
            SELECT 1 FROM audit_outcome later
            WHERE later.change_id = o.change_id AND later.target_id = o.target_id AND later.seq > o.seq))
    AND NOT (o.verdict IN ('unchanged', 'skipped') AND EXISTS (
            SELECT 1 FROM audit_outcome earlier
            WHERE earlier.change_id = o.change_id AND earlier.target_id = o.target_id
              AND earlier.final = 1 AND earlier.seq < o.seq))
LEFT JOIN audit_change b
    ON b.change_id = CASE WHEN o.seq IS NULL THEN c.previous ELSE o.replaced END;

-- What is so now: one row for each live path and target (one with target NULL if no target has said anything),
-- and one for each path that is gone from ZooKeeper and still stands at a target (live = 0).
--
-- outcome:          of the newest change of the path; NULL: the target has not said anything yet.
-- document:         what ZooKeeper holds.   applied_document: what the target holds, if nobody changed it there.
CREATE VIEW config_now AS
SELECT
    c.path                                                               AS path,
    c.kind                                                               AS kind,
    c.uuid                                                               AS uuid,
    c.name                                                               AS name,
    1                                                                    AS live,
    strftime('%Y-%m-%dT%H:%M:%fZ', c.effective / 1000.0, 'unixepoch')    AS effective_time,
    c.author                                                             AS author,
    c.message                                                            AS message,
    s.target                                                             AS target,
    o.verdict                                                            AS outcome,
    o.reason                                                             AS reason,
    o.place                                                              AS place,
    c.document                                                           AS document,
    a.document                                                           AS applied_document,
    c.change_id                                                          AS change_id,
    s.change_id                                                          AS applied_change_id
FROM audit_tree t
JOIN audit_change c ON c.change_id = t.change_id
LEFT JOIN audit_applied s ON s.path = t.path
LEFT JOIN audit_outcome o ON o.seq = (
        SELECT max(l.seq) FROM audit_outcome l
        WHERE l.change_id = c.change_id AND l.target_id = s.target_id
          AND NOT (l.verdict IN ('unchanged', 'skipped') AND EXISTS (
                SELECT 1 FROM audit_outcome earlier
                WHERE earlier.change_id = l.change_id AND earlier.target_id = l.target_id
                  AND earlier.final = 1 AND earlier.seq < l.seq)))
LEFT JOIN audit_change a ON a.change_id = s.change_id
UNION ALL
SELECT
    s.path, a.kind, a.uuid, a.name, 0,
    strftime('%Y-%m-%dT%H:%M:%fZ', d.effective / 1000.0, 'unixepoch'),
    d.author, d.message, s.target, o.verdict, o.reason, o.place,
    NULL, a.document, d.change_id, s.change_id
FROM audit_applied s
JOIN audit_change a ON a.change_id = s.change_id
LEFT JOIN audit_change d ON d.seq = (SELECT max(l.seq) FROM audit_change l WHERE l.path = s.path)
LEFT JOIN audit_outcome o ON o.seq = (
        SELECT max(l.seq) FROM audit_outcome l WHERE l.change_id = d.change_id AND l.target_id = s.target_id)
WHERE NOT EXISTS (SELECT 1 FROM audit_tree t WHERE t.path = s.path);
