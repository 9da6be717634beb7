-- A fingerprint is now known by its booking too. Those of the format before were never released;
-- without them the same files would be imported twice.
DO $$
BEGIN
    IF EXISTS (SELECT FROM imported_row) THEN
        RAISE EXCEPTION 'this ledger has imported rows of the format before the first release: export '
            'its history with the software that wrote it, and import that into a new ledger'
            USING ERRCODE = 'feature_not_supported';
    END IF;
END
$$;
DROP TABLE imported_row;

-- Rows of imports that were taken before, whether they recorded anything or not. By booking first:
-- what an import touches lies together, however large the table. Random keys alone touch a page each.
CREATE TABLE imported_row (
    booking_id text COLLATE "C" NOT NULL,
    fingerprint bigint NOT NULL,
    PRIMARY KEY (booking_id, fingerprint)
);
