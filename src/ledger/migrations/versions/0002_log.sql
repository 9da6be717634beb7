-- Keys that sign checkpoints. The newest one that is not retired signs; older ones that are not
-- sign once more beside it. A retired key has lost its private half and still verifies.
CREATE TABLE log_key (
    id integer GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    name text NOT NULL,
    public_key bytea NOT NULL UNIQUE CHECK (length(public_key) = 32),
    private_key_sealed bytea,
    created_at timestamptz NOT NULL DEFAULT now(),
    retired_at timestamptz,
    CHECK ((private_key_sealed IS NULL) = (retired_at IS NOT NULL))
);

-- Every checkpoint ever signed: its note is served as it stands here.
CREATE TABLE log_checkpoint (
    size bigint PRIMARY KEY CHECK (size >= 0),
    root bytea NOT NULL CHECK (length(root) = 32),
    note text NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now()
);

-- What witnesses signed of a checkpoint: a signature line of its note.
CREATE TABLE log_cosignature (
    size bigint NOT NULL REFERENCES log_checkpoint,
    line text NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (size, line)
);

CREATE FUNCTION log_refuse_change() RETURNS trigger
LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION '% on % is refused: what was signed stays', TG_OP, TG_TABLE_NAME
        USING ERRCODE = 'restrict_violation';
END
$$;
CREATE TRIGGER log_checkpoint_no_update_no_delete BEFORE UPDATE OR DELETE ON log_checkpoint
    FOR EACH ROW EXECUTE FUNCTION log_refuse_change();
CREATE TRIGGER log_checkpoint_no_truncate BEFORE TRUNCATE ON log_checkpoint
    FOR EACH STATEMENT EXECUTE FUNCTION log_refuse_change();
CREATE TRIGGER log_cosignature_no_update_no_delete BEFORE UPDATE OR DELETE ON log_cosignature
    FOR EACH ROW EXECUTE FUNCTION log_refuse_change();
CREATE TRIGGER log_cosignature_no_truncate BEFORE TRUNCATE ON log_cosignature
    FOR EACH STATEMENT EXECUTE FUNCTION log_refuse_change();
CREATE TRIGGER log_key_no_delete BEFORE DELETE ON log_key
    FOR EACH ROW EXECUTE FUNCTION log_refuse_change();
CREATE TRIGGER log_key_no_truncate BEFORE TRUNCATE ON log_key
    FOR EACH STATEMENT EXECUTE FUNCTION log_refuse_change();
-- ALWAYS: session_replication_role = replica does not switch them off.
ALTER TABLE log_checkpoint ENABLE ALWAYS TRIGGER log_checkpoint_no_update_no_delete;
ALTER TABLE log_checkpoint ENABLE ALWAYS TRIGGER log_checkpoint_no_truncate;
ALTER TABLE log_cosignature ENABLE ALWAYS TRIGGER log_cosignature_no_update_no_delete;
ALTER TABLE log_cosignature ENABLE ALWAYS TRIGGER log_cosignature_no_truncate;
ALTER TABLE log_key ENABLE ALWAYS TRIGGER log_key_no_delete;
ALTER TABLE log_key ENABLE ALWAYS TRIGGER log_key_no_truncate;
