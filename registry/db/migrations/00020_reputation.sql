-- +goose Up
-- What agents said of each other. owner is who is behind the rater as far as it is
-- proved, and empty where it is not; weight is decided when the rating comes; network
-- is a salted hash, and empty once it is of no use. A rating counts from counted_at,
-- when both sides had reported the session.
CREATE TABLE ratings (
  id         TEXT PRIMARY KEY,
  target     TEXT NOT NULL,
  rater      TEXT NOT NULL REFERENCES agents (amid) ON DELETE CASCADE,
  session_id TEXT NOT NULL,
  score      DOUBLE PRECISION NOT NULL,
  tags       TEXT NOT NULL,
  owner      TEXT NOT NULL,
  network    TEXT NOT NULL,
  weight     DOUBLE PRECISION NOT NULL,
  mutual     BOOLEAN NOT NULL,
  rated_at   BIGINT NOT NULL,
  counted_at BIGINT,
  UNIQUE (rater, session_id)
);
CREATE INDEX ratings_target ON ratings (target, owner, counted_at, weight, score);
CREATE INDEX ratings_network ON ratings (target, network) WHERE network <> '';
CREATE INDEX ratings_pair ON ratings (rater, target, rated_at);
CREATE INDEX ratings_rated ON ratings (rated_at);

-- What each side says of a session, the first time that it says so.
CREATE TABLE session_reports (
  session_id  TEXT NOT NULL,
  initiator   TEXT NOT NULL,
  receiver    TEXT NOT NULL,
  reporter    TEXT NOT NULL REFERENCES agents (amid) ON DELETE CASCADE,
  id          TEXT NOT NULL,
  intent      TEXT NOT NULL,
  outcome     TEXT NOT NULL,
  started_at  BIGINT NOT NULL,
  reported_at BIGINT NOT NULL,
  PRIMARY KEY (session_id, initiator, receiver, reporter)
);
CREATE INDEX session_reports_reported ON session_reports (reported_at);
CREATE INDEX session_reports_reporter ON session_reports (reporter, reported_at);

-- Sessions that both sides reported alike, once for each side. outcome is disputed
-- where the sides do not agree on it, intent is empty then; owner and weight are the peer's.
CREATE TABLE session_sides (
  session_id   TEXT NOT NULL,
  agent        TEXT NOT NULL,
  peer         TEXT NOT NULL,
  owner        TEXT NOT NULL,
  weight       DOUBLE PRECISION NOT NULL,
  intent       TEXT NOT NULL,
  outcome      TEXT NOT NULL,
  confirmed_at BIGINT NOT NULL,
  PRIMARY KEY (session_id, agent, peer)
);
CREATE INDEX session_sides_agent ON session_sides (agent, owner, confirmed_at, weight, outcome);
CREATE INDEX session_sides_intent ON session_sides (agent, intent);

-- What all of it comes to, as of updated_at; the score itself stands in agents.
CREATE TABLE reputations (
  amid                TEXT PRIMARY KEY,
  ratings_count       BIGINT NOT NULL,
  average_feedback    DOUBLE PRECISION NOT NULL,
  total_sessions      BIGINT NOT NULL,
  successful_sessions BIGINT NOT NULL,
  increase_until      BIGINT NOT NULL,
  decrease_until      BIGINT NOT NULL,
  updated_at          BIGINT NOT NULL
);
CREATE INDEX reputations_updated ON reputations (updated_at);

-- How often a tag stands in the ratings of an agent that count.
CREATE TABLE reputation_tags (
  amid  TEXT NOT NULL,
  tag   TEXT NOT NULL,
  count BIGINT NOT NULL,
  PRIMARY KEY (amid, tag)
);

-- Values that all instances of a registry share: the salt of the networks, the public
-- half of the root key.
CREATE TABLE registry_values (
  name  TEXT PRIMARY KEY,
  value BYTEA NOT NULL
);

-- +goose Down
DROP TABLE registry_values;
DROP TABLE reputation_tags;
DROP TABLE reputations;
DROP TABLE session_sides;
DROP TABLE session_reports;
DROP TABLE ratings;
