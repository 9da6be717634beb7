-- C2SP tiles of the transparency log: up to 256 hashes of 32 bytes. The rightmost tile of each
-- level grows in place. Derived from the events; dropped or emptied, it is filled anew.
CREATE TABLE log_tile (
    level smallint NOT NULL,
    number bigint NOT NULL,
    hashes bytea NOT NULL CHECK (length(hashes) BETWEEN 32 AND 8192 AND length(hashes) % 32 = 0),
    CONSTRAINT log_tile_pkey PRIMARY KEY (level, number)
);
-- Hashes cannot be compressed.
ALTER TABLE log_tile ALTER COLUMN hashes SET STORAGE EXTERNAL;
