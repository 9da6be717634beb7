-- The only truth. Column names are those of the eventsourcing library:
-- originator = booking, notification_id = position in the whole ledger (1, 2, 3 … in commit order).
CREATE TABLE ledger_events (
    originator_id text COLLATE "C" NOT NULL,
    originator_version bigint NOT NULL CHECK (originator_version > 0),
    topic text NOT NULL,
    state bytea NOT NULL,
    notification_id bigint NOT NULL CHECK (notification_id > 0),
    -- Second line of defence after the append lock: no two events can be the same version.
    PRIMARY KEY (originator_id, originator_version)
);
-- No two events can have the same position, whatever a writer does.
CREATE UNIQUE INDEX ledger_events_notification_id_idx ON ledger_events (notification_id);
COMMENT ON TABLE ledger_events IS 'Immutable facts about bookings. UPDATE, DELETE and TRUNCATE are refused.';

CREATE FUNCTION ledger_events_refuse_change() RETURNS trigger
LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION '% on % is refused: events are immutable', TG_OP, TG_TABLE_NAME
        USING ERRCODE = 'restrict_violation';
END
$$;
CREATE TRIGGER ledger_events_no_update_no_delete BEFORE UPDATE OR DELETE ON ledger_events
    FOR EACH ROW EXECUTE FUNCTION ledger_events_refuse_change();
CREATE TRIGGER ledger_events_no_truncate BEFORE TRUNCATE ON ledger_events
    FOR EACH STATEMENT EXECUTE FUNCTION ledger_events_refuse_change();
-- ALWAYS: session_replication_role = replica does not switch them off.
ALTER TABLE ledger_events ENABLE ALWAYS TRIGGER ledger_events_no_update_no_delete;
ALTER TABLE ledger_events ENABLE ALWAYS TRIGGER ledger_events_no_truncate;

-- Answers by idempotency key, written in the transaction of the events that they speak of.
-- A key belongs to the credential that sent it (scope).
CREATE TABLE idempotency (
    scope text NOT NULL,
    key text NOT NULL,
    request_sha256 bytea NOT NULL,
    answer bytea NOT NULL,
    recorded_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (scope, key)
);
CREATE INDEX idempotency_recorded_at ON idempotency USING brin (recorded_at);

-- Rows of imports that were taken before, whether they recorded anything or not.
CREATE TABLE imported_row (
    fingerprint bytea PRIMARY KEY
);

-- Access keys. The secret itself is never stored.
CREATE TABLE api_key (
    id text PRIMARY KEY,
    name text NOT NULL,
    role text NOT NULL CHECK (role IN ('reader', 'writer', 'analyst', 'auditor', 'admin')),
    secret_sha256 bytea NOT NULL UNIQUE,
    created_at timestamptz NOT NULL DEFAULT now(),
    last_used_at timestamptz,
    revoked_at timestamptz
);

-- Up to which position each projection is derived, and how it last failed.
CREATE TABLE projection (
    name text PRIMARY KEY,
    version integer NOT NULL,
    position bigint NOT NULL,
    updated_at timestamptz NOT NULL DEFAULT now(),
    failed_at timestamptz,
    failure text
);
