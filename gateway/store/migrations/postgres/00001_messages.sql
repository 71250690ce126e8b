-- +goose Up
-- Messages in the order in which they were accepted. hash is of what they say. key_until
-- is when the idempotency key ends to count. origin is NULL where it is the sender's
-- domain. Times are microseconds since 1970 here and everywhere.
CREATE SEQUENCE gw_message_numbers;
-- Of gateways that share the database; each holds an advisory lock on its own.
CREATE SEQUENCE gw_workers;
CREATE TABLE gw_messages (
  seq          BIGINT PRIMARY KEY,
  accepted     BIGINT NOT NULL,
  key_until    BIGINT NOT NULL,
  id           BYTEA NOT NULL UNIQUE,
  hash         BYTEA NOT NULL,
  sender       TEXT NOT NULL,
  origin       TEXT,
  in_reply_to  BYTEA,
  verification TEXT,
  document     BYTEA NOT NULL
);
CREATE INDEX gw_messages_sender ON gw_messages (sender, seq);
CREATE INDEX gw_messages_reply ON gw_messages (in_reply_to) WHERE in_reply_to IS NOT NULL;

-- What became of a message for each recipient. address is folded for our own agents, and
-- shown as it was written then, if that differs. inbox is 1 while it is to be read. dedup
-- is origin, sender, key and recipient in one. target is where it goes from the queue.
-- changed is NULL for the time of acceptance. What was redriven counts from queued on,
-- and from base attempts on.
CREATE TABLE gw_recipients (
  message  BIGINT NOT NULL,
  n        SMALLINT NOT NULL,
  mode     SMALLINT NOT NULL,
  state    SMALLINT NOT NULL,
  inbox    SMALLINT NOT NULL,
  attempts INTEGER NOT NULL,
  address  TEXT NOT NULL,
  dedup    BYTEA UNIQUE,
  shown    TEXT,
  target   TEXT,
  changed  BIGINT,
  next     BIGINT,
  acked    BIGINT,
  dead     BIGINT,
  queued   BIGINT,
  base     INTEGER,
  code     TEXT,
  text     TEXT,
  PRIMARY KEY (message, n)
);
CREATE INDEX gw_recipients_inbox ON gw_recipients (address, inbox, message);
CREATE INDEX gw_recipients_dead ON gw_recipients (dead) WHERE dead IS NOT NULL;

-- What has to leave: one row for each message and target. While a gateway works on it,
-- due is when its lease ends.
CREATE TABLE gw_queue (
  message BIGINT NOT NULL,
  target  TEXT NOT NULL,
  mode    SMALLINT NOT NULL,
  due     BIGINT NOT NULL,
  worker  BIGINT,
  PRIMARY KEY (message, target)
);
CREATE INDEX gw_queue_due ON gw_queue (due);

CREATE TABLE gw_attempts (
  message BIGINT NOT NULL,
  at      BIGINT NOT NULL,
  address TEXT NOT NULL,
  state   SMALLINT NOT NULL,
  code    TEXT,
  text    TEXT,
  http    INTEGER NOT NULL,
  took    BIGINT NOT NULL
);
CREATE INDEX gw_attempts_message ON gw_attempts (message);

-- +goose Down
DROP TABLE gw_attempts;
DROP TABLE gw_queue;
DROP TABLE gw_recipients;
DROP TABLE gw_messages;
DROP SEQUENCE gw_workers;
DROP SEQUENCE gw_message_numbers;
