-- +goose Up
-- Agents by their address in lower case. Lists and maps are JSON.
CREATE TABLE gw_agents (
  folded          TEXT PRIMARY KEY,
  address         TEXT NOT NULL,
  mode            TEXT NOT NULL,
  push_target     TEXT NOT NULL,
  push_secret     TEXT NOT NULL,
  headers         TEXT NOT NULL,
  key_hash        BYTEA,
  key_expires     BIGINT,
  schemas         TEXT NOT NULL,
  requires_schema BOOLEAN NOT NULL,
  role            TEXT NOT NULL,
  description     TEXT NOT NULL,
  capabilities    TEXT NOT NULL,
  created         BIGINT NOT NULL,
  last_access     BIGINT NOT NULL
);

-- How often the table of a name has changed.
CREATE TABLE gw_versions (
  name    TEXT PRIMARY KEY,
  version BIGINT NOT NULL
);
INSERT INTO gw_versions (name, version) VALUES ('agents', 1);

CREATE TABLE gw_schemas (
  id         TEXT PRIMARY KEY,
  definition BYTEA NOT NULL,
  checksum   TEXT NOT NULL,
  signature  TEXT NOT NULL,
  published  BIGINT NOT NULL,
  updated    BIGINT NOT NULL
);

-- expires is NULL for never.
CREATE TABLE gw_api_keys (
  id        TEXT PRIMARY KEY,
  hash      BYTEA NOT NULL,
  name      TEXT NOT NULL,
  domain    TEXT NOT NULL,
  scopes    TEXT NOT NULL,
  expires   BIGINT,
  created   BIGINT NOT NULL,
  last_used BIGINT
);

CREATE TABLE gw_domains (
  name    TEXT PRIMARY KEY,
  state   TEXT NOT NULL,
  note    TEXT NOT NULL,
  updated BIGINT NOT NULL
);

-- +goose Down
DROP TABLE gw_domains;
DROP TABLE gw_api_keys;
DROP TABLE gw_schemas;
DROP TABLE gw_versions;
DROP TABLE gw_agents;
