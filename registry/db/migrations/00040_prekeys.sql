-- +goose Up
-- Prekeys that were handed out, by the key and not by its number, so that none ever is
-- again under another. They outlive their agent, which may come back.
CREATE TABLE used_prekeys (
  amid       TEXT NOT NULL,
  public_key BYTEA NOT NULL,
  used_at    BIGINT NOT NULL,
  PRIMARY KEY (amid, public_key)
);
CREATE INDEX used_prekeys_used ON used_prekeys (used_at);
INSERT INTO used_prekeys (amid, public_key, used_at)
  SELECT amid, public_key, MAX(consumed_at) FROM one_time_prekeys WHERE consumed_at IS NOT NULL GROUP BY amid, public_key;

-- What is left are those to hand out, each once.
DELETE FROM one_time_prekeys WHERE EXISTS
  (SELECT 1 FROM used_prekeys AS used WHERE used.amid = one_time_prekeys.amid AND used.public_key = one_time_prekeys.public_key);
DELETE FROM one_time_prekeys WHERE EXISTS
  (SELECT 1 FROM one_time_prekeys AS other WHERE other.amid = one_time_prekeys.amid
    AND other.public_key = one_time_prekeys.public_key AND other.prekey_id > one_time_prekeys.prekey_id);
DROP INDEX one_time_prekeys_free;
ALTER TABLE one_time_prekeys DROP COLUMN consumed_at;
CREATE UNIQUE INDEX one_time_prekeys_key ON one_time_prekeys (amid, public_key);

-- +goose Down
DROP INDEX one_time_prekeys_key;
ALTER TABLE one_time_prekeys ADD COLUMN consumed_at BIGINT;
CREATE INDEX one_time_prekeys_free ON one_time_prekeys (amid, prekey_id) WHERE consumed_at IS NULL;
DROP TABLE used_prekeys;
