-- Logged-in browsers (kind session), and links that log one in once (kind link). Only hashes of
-- their tokens are kept. Without a key_id it is of LEDGER_ADMIN_KEY, which is part of the hash:
-- under another admin key the row is never found.
CREATE TABLE web_session (
    token_hash bytea PRIMARY KEY CHECK (length(token_hash) = 32),
    kind text NOT NULL CHECK (kind IN ('session', 'link')),
    key_id text REFERENCES api_key,
    created_at timestamptz NOT NULL DEFAULT now(),
    expires_at timestamptz NOT NULL
);
CREATE INDEX web_session_expires_at_idx ON web_session (expires_at);
