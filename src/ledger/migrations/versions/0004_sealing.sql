-- Events say what is personal under a seal from here on. Those of the format before were never
-- released; a ledger that has some would not be readable.
DO $$
BEGIN
    IF EXISTS (SELECT FROM ledger_events) THEN
        RAISE EXCEPTION 'this ledger has events of the format before the first release: export '
            'its history with the software that wrote it, and import that into a new ledger'
            USING ERRCODE = 'feature_not_supported';
    END IF;
END
$$;

-- The key of each booking of which something personal was said, wrapped by the master key. Its row
-- is deleted by an erasure, and then nobody can read what was sealed under it.
CREATE TABLE booking_key (
    booking_id text COLLATE "C" PRIMARY KEY,
    wrapped bytea NOT NULL
);

-- Something sealed by the ledger's master key, to know it by. One row.
CREATE TABLE master_key_check (
    sealed bytea NOT NULL
);
CREATE UNIQUE INDEX master_key_check_one_row ON master_key_check ((true));

-- Made from personal parts too, with a key since: nobody who lacks it can try texts against them.
ALTER TABLE idempotency RENAME COLUMN request_sha256 TO request_hmac;
