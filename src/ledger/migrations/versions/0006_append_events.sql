-- Stores what was decided without the append lock, at the positions after the newest, and says which
-- that was. Stores nothing and says NULL where it may be out of date: one of the streams that it
-- depends on has an event after position as_of, or one of the idempotency keys has an answer.
--
-- Each statement of a volatile function has a snapshot of its own (read committed), so those after the
-- first see what the last holder of the lock committed. The lock comes before all else: nothing of ours is
-- waited for by somebody who has it.
CREATE FUNCTION append_events(
    append_lock bigint, channel text, as_of bigint, streams text[],
    ids text[], versions bigint[], topics text[], states bytea[],
    key_ids text[], wrapped_keys bytea[],
    scopes text[], keys text[], request_hmacs bytea[], answers bytea[]
) RETURNS bigint LANGUAGE plpgsql AS $$
DECLARE
    head bigint;
BEGIN
    PERFORM pg_advisory_xact_lock(append_lock);
    head := (SELECT coalesce(max(notification_id), 0) FROM ledger_events);
    IF head <> as_of THEN
        IF EXISTS (
            SELECT FROM unnest(streams) AS stream (id) CROSS JOIN LATERAL (
                SELECT notification_id FROM ledger_events
                WHERE originator_id = stream.id ORDER BY originator_version DESC LIMIT 1
            ) AS newest
            WHERE newest.notification_id > as_of
        ) THEN
            RETURN NULL;
        END IF;
    END IF;
    IF cardinality(keys) > 0 THEN
        IF EXISTS (
            SELECT FROM unnest(scopes, keys) AS asked (scope, key) JOIN idempotency USING (scope, key)
        ) THEN
            RETURN NULL;
        END IF;
        INSERT INTO idempotency (scope, key, request_hmac, answer, moved_by)
        SELECT answer.*, head - as_of FROM unnest(scopes, keys, request_hmacs, answers) AS answer;
    END IF;
    IF cardinality(key_ids) > 0 THEN
        INSERT INTO booking_key (booking_id, wrapped)
        SELECT * FROM unnest(key_ids, wrapped_keys);
    END IF;
    IF cardinality(ids) > 0 THEN
        INSERT INTO ledger_events
            (originator_id, originator_version, topic, state, notification_id)
        SELECT id, version, topic, state, head + ordinality
        FROM unnest(ids, versions, topics, states)
            WITH ORDINALITY AS event (id, version, topic, state);
        PERFORM pg_notify(channel, '');
    END IF;
    RETURN head;
END
$$;

-- How much further on the positions in an answer are than it says: by what others appended between
-- the decision and the lock.
ALTER TABLE idempotency ADD COLUMN moved_by bigint NOT NULL DEFAULT 0;
