-- +goose Up
-- Sign-ins under way: what their links carry is kept as a hash. browser is the hash of
-- the secret of the browser that opened the link.
CREATE TABLE oauth_states (
  hash       BYTEA PRIMARY KEY,
  amid       TEXT NOT NULL REFERENCES agents (amid) ON DELETE CASCADE,
  provider   TEXT NOT NULL,
  browser    BYTEA,
  expires_at BIGINT NOT NULL,
  UNIQUE (amid, provider)
);
CREATE INDEX oauth_states_expires ON oauth_states (expires_at);

-- Which account vouches for which agent. Nothing else about the human is kept.
CREATE TABLE vouchers (
  amid        TEXT NOT NULL REFERENCES agents (amid) ON DELETE CASCADE,
  provider    TEXT NOT NULL,
  provider_id TEXT NOT NULL,
  vouched_at  BIGINT NOT NULL,
  PRIMARY KEY (amid, provider)
);
CREATE INDEX vouchers_person ON vouchers (provider, provider_id);

-- +goose Down
DROP TABLE vouchers;
DROP TABLE oauth_states;
