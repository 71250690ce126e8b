-- +goose Up
-- What the 0.2 search filters and sorts by stands beside each capability, so that one
-- index answers it, whatever is asked. level is 0.2's: 2 anonymous, 1 all others.
ALTER TABLE agent_capabilities ADD COLUMN level INTEGER NOT NULL DEFAULT 2;
ALTER TABLE agent_capabilities ADD COLUMN status TEXT NOT NULL DEFAULT 'offline';
ALTER TABLE agent_capabilities ADD COLUMN reputation DOUBLE PRECISION NOT NULL DEFAULT 0.5;
ALTER TABLE agent_capabilities ADD COLUMN last_seen BIGINT NOT NULL DEFAULT 0;
CREATE INDEX agent_capabilities_found
  ON agent_capabilities (capability, reputation DESC, last_seen DESC, amid, level, status);

-- The terms of our search. rank is how far the reputation is from 1, in millionths.
CREATE TABLE search_terms (
  amid TEXT NOT NULL REFERENCES agents (amid) ON DELETE CASCADE,
  term TEXT NOT NULL,
  rank BIGINT NOT NULL,
  PRIMARY KEY (amid, term)
);
CREATE INDEX search_terms_found ON search_terms (term, rank, amid);

-- What our search shows of an agent, and a digest of all that was indexed of it last, so
-- that a sign of life does not index it again.
CREATE TABLE search_agents (
  amid         TEXT PRIMARY KEY REFERENCES agents (amid) ON DELETE CASCADE,
  digest       BYTEA NOT NULL,
  rank         BIGINT NOT NULL,
  name         TEXT NOT NULL,
  summary      TEXT NOT NULL,
  capabilities TEXT NOT NULL,
  more         INTEGER NOT NULL,
  has_card     BOOLEAN NOT NULL
);

-- +goose Down
DROP TABLE search_agents;
DROP TABLE search_terms;
DROP INDEX agent_capabilities_found;
ALTER TABLE agent_capabilities DROP COLUMN last_seen;
ALTER TABLE agent_capabilities DROP COLUMN reputation;
ALTER TABLE agent_capabilities DROP COLUMN status;
ALTER TABLE agent_capabilities DROP COLUMN level;
