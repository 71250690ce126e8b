-- +goose Up
-- Agents by their AMID. strict: registered with signatures that cover the whole request.
CREATE TABLE agents (
  amid            TEXT PRIMARY KEY,
  signing_key     BYTEA NOT NULL,
  exchange_key    BYTEA NOT NULL,
  tier            TEXT NOT NULL,
  display_name    TEXT,
  organization    TEXT,
  capabilities    TEXT NOT NULL,
  relay_endpoint  TEXT NOT NULL,
  direct_endpoint TEXT,
  status          TEXT NOT NULL,
  reputation      DOUBLE PRECISION NOT NULL,
  strict          BOOLEAN NOT NULL,
  last_seen       BIGINT NOT NULL,
  created_at      BIGINT NOT NULL,
  updated_at      BIGINT NOT NULL
);
CREATE INDEX agents_last_seen ON agents (last_seen);

-- The same capabilities, to search by.
CREATE TABLE agent_capabilities (
  capability TEXT NOT NULL,
  amid       TEXT NOT NULL REFERENCES agents (amid) ON DELETE CASCADE,
  PRIMARY KEY (capability, amid)
);
CREATE INDEX agent_capabilities_amid ON agent_capabilities (amid);

-- One signed prekey for each agent: the last that it uploaded.
CREATE TABLE signed_prekeys (
  amid        TEXT PRIMARY KEY REFERENCES agents (amid) ON DELETE CASCADE,
  prekey_id   BIGINT NOT NULL,
  public_key  BYTEA NOT NULL,
  signature   BYTEA NOT NULL,
  uploaded_at BIGINT NOT NULL
);

-- A key that was handed out stays, so that it never is again.
CREATE TABLE one_time_prekeys (
  amid        TEXT NOT NULL REFERENCES agents (amid) ON DELETE CASCADE,
  prekey_id   BIGINT NOT NULL,
  public_key  BYTEA NOT NULL,
  uploaded_at BIGINT NOT NULL,
  consumed_at BIGINT,
  PRIMARY KEY (amid, prekey_id)
);
CREATE INDEX one_time_prekeys_free ON one_time_prekeys (amid, prekey_id) WHERE consumed_at IS NULL;

-- Signatures that were used, until their time is over.
CREATE TABLE used_signatures (
  id         BYTEA PRIMARY KEY,
  expires_at BIGINT NOT NULL
);
CREATE INDEX used_signatures_expires ON used_signatures (expires_at);

-- strict: the revoker's signature covered the whole request.
CREATE TABLE revocations (
  id         TEXT PRIMARY KEY,
  amid       TEXT NOT NULL UNIQUE,
  reason     TEXT NOT NULL,
  revoked_by TEXT NOT NULL,
  revoked_at BIGINT NOT NULL,
  notes      TEXT,
  strict     BOOLEAN NOT NULL
);
CREATE INDEX revocations_at ON revocations (revoked_at);

-- +goose Down
DROP TABLE revocations;
DROP TABLE used_signatures;
DROP TABLE one_time_prekeys;
DROP TABLE signed_prekeys;
DROP TABLE agent_capabilities;
DROP TABLE agents;
