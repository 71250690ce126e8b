-- +goose Up
-- Every certificate that was issued. amid is empty for an organisation's; issuer is the
-- serial of the organisation's certificate, and empty under the root; owner is who it
-- proves to be behind the agent.
CREATE TABLE certificates (
  serial          TEXT PRIMARY KEY,
  issuer          TEXT NOT NULL,
  amid            TEXT NOT NULL,
  organization_id TEXT NOT NULL,
  owner           TEXT NOT NULL,
  tier            TEXT NOT NULL,
  document        TEXT NOT NULL,
  compact         BYTEA,
  issued_at       BIGINT NOT NULL,
  expires_at      BIGINT NOT NULL,
  revoked_at      BIGINT,
  reason          TEXT
);
CREATE INDEX certificates_amid ON certificates (amid, expires_at);
CREATE INDEX certificates_issuer ON certificates (issuer);
CREATE INDEX certificates_organization ON certificates (organization_id, amid);
CREATE INDEX certificates_expires ON certificates (expires_at);
CREATE INDEX certificates_revoked ON certificates (revoked_at) WHERE revoked_at IS NOT NULL;

-- The newest revocation list, and how many certificates were revoked when it was made.
CREATE TABLE revocation_lists (
  name      TEXT PRIMARY KEY,
  number    BIGINT NOT NULL,
  revoked   BIGINT NOT NULL,
  document  BYTEA NOT NULL,
  issued_at BIGINT NOT NULL
);

-- The order in which agents were revoked, for readers that come back for the rest.
CREATE TABLE revocation_log (
  number BIGINT PRIMARY KEY,
  amid   TEXT NOT NULL
);

CREATE TABLE revocation_counter (number BIGINT NOT NULL);
INSERT INTO revocation_counter (number) VALUES (0);

-- Statements with which signing keys left for ever (session.md §2.8), as they came.
CREATE TABLE revocation_statements (
  amid        TEXT PRIMARY KEY,
  statement   BYTEA NOT NULL,
  received_at BIGINT NOT NULL
);

-- +goose Down
DROP TABLE revocation_statements;
DROP TABLE revocation_counter;
DROP TABLE revocation_log;
DROP TABLE revocation_lists;
DROP TABLE certificates;
