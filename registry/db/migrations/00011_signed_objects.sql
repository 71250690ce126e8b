-- +goose Up
-- Agent cards and agent records, as their agents signed them. What they say stands in
-- the bytes alone.
CREATE TABLE cards (
  amid       TEXT PRIMARY KEY REFERENCES agents (amid) ON DELETE CASCADE,
  signed     BYTEA NOT NULL,
  expires_at BIGINT NOT NULL
);
CREATE INDEX cards_expires ON cards (expires_at);

CREATE TABLE records (
  amid       TEXT PRIMARY KEY REFERENCES agents (amid) ON DELETE CASCADE,
  signed     BYTEA NOT NULL,
  epoch      BIGINT NOT NULL,
  expires_at BIGINT NOT NULL
);
CREATE INDEX records_expires ON records (expires_at);

-- One-time keys of session/1. One that was handed out stays until it expires, without
-- its bytes, so that it is never taken in again.
CREATE TABLE session_keys (
  amid       TEXT NOT NULL REFERENCES agents (amid) ON DELETE CASCADE,
  kind       INTEGER NOT NULL,
  epoch      BIGINT NOT NULL,
  key_id     BIGINT NOT NULL,
  signed     BYTEA,
  expires_at BIGINT NOT NULL,
  given_at   BIGINT,
  PRIMARY KEY (amid, kind, epoch, key_id)
);
CREATE INDEX session_keys_free ON session_keys (amid, kind, key_id) WHERE given_at IS NULL;
CREATE INDEX session_keys_given ON session_keys (amid, given_at) WHERE given_at IS NOT NULL;
CREATE INDEX session_keys_expires ON session_keys (expires_at);

-- JSON schemas; owner is the first part of the id.
CREATE TABLE schemas (
  id           TEXT PRIMARY KEY,
  owner        TEXT NOT NULL,
  publisher    TEXT NOT NULL,
  body         BYTEA NOT NULL,
  published_at BIGINT NOT NULL
);
CREATE INDEX schemas_owner ON schemas (owner);
CREATE INDEX schemas_publisher ON schemas (publisher);

-- +goose Down
DROP TABLE schemas;
DROP TABLE session_keys;
DROP TABLE records;
DROP TABLE cards;
