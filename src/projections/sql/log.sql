-- C2SP tiles of the transparency log: up to 256 hashes of 32 bytes. The rightmost tile of each
-- level grows in place. Derived from the events; dropped or emptied, it is filled anew.
CREATE TABLE IF NOT EXISTS log_tile (
    level smallint NOT NULL,
    number bigint NOT NULL,
    hashes bytea NOT NULL CHECK (length(hashes) BETWEEN 32 AND 8192 AND length(hashes) % 32 = 0),
    CONSTRAINT log_tile_pkey PRIMARY KEY (level, number)
);
-- Hashes cannot be compressed.
ALTER TABLE log_tile ALTER COLUMN hashes SET STORAGE EXTERNAL;

-- Which events are the latest of their booking, as of the newest checkpoint: a bit an event, 8,192
-- events a page. Derived with the tiles.
CREATE TABLE IF NOT EXISTS log_latest (
    number bigint CONSTRAINT log_latest_pkey PRIMARY KEY,
    bits bytea NOT NULL CHECK (length(bits) = 1024)
);
