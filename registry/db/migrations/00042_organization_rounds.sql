-- +goose Up
-- What befalls an organisation befalls its members, a few at a time. round counts such
-- events, settled is the last that all members have felt, and a member's round the last
-- that it has.
ALTER TABLE organizations ADD COLUMN round BIGINT NOT NULL DEFAULT 0;
ALTER TABLE organizations ADD COLUMN settled BIGINT NOT NULL DEFAULT 0;
ALTER TABLE organization_members ADD COLUMN round BIGINT NOT NULL DEFAULT 0;
CREATE INDEX organizations_unsettled ON organizations (id) WHERE settled <> round;
CREATE INDEX organization_members_round ON organization_members (organization_id, round);

-- +goose Down
DROP INDEX organization_members_round;
DROP INDEX organizations_unsettled;
ALTER TABLE organization_members DROP COLUMN round;
ALTER TABLE organizations DROP COLUMN settled;
ALTER TABLE organizations DROP COLUMN round;
