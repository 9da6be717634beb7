-- Group roles to grant to logins. Roles belong to the server: all its databases that have a
-- ledger in a schema of this name share the pair.
-- {app}: what the service needs and no more; on events that is SELECT and INSERT.
-- {analyst}: the read-only views; projections grant them when they create them.
GRANT USAGE ON SCHEMA {schema} TO {app}, {analyst};
GRANT SELECT, INSERT ON ledger_events TO {app};
GRANT EXECUTE ON FUNCTION append_events TO {app};
GRANT SELECT, INSERT ON imported_row TO {app};
GRANT SELECT, INSERT, DELETE ON booking_key TO {app};
GRANT SELECT, INSERT ON master_key_check TO {app};
GRANT SELECT, INSERT, DELETE ON idempotency TO {app};
GRANT SELECT, INSERT, UPDATE ON api_key TO {app};
GRANT SELECT, INSERT, DELETE ON web_session TO {app};
GRANT SELECT, INSERT, UPDATE ON projection TO {app};
GRANT SELECT ON schema_version TO {app};
GRANT SELECT, INSERT ON log_checkpoint, log_cosignature TO {app};
GRANT SELECT, INSERT, UPDATE ON log_key TO {app};
