-- +goose Up
-- Organisations and claims to be one. A domain and a name belong to one that is verified,
-- and may be claimed by many. The keys and skeletons are for comparing.
CREATE TABLE organizations (
  id                TEXT PRIMARY KEY,
  name              TEXT NOT NULL,
  name_key          TEXT NOT NULL,
  name_skeleton     TEXT NOT NULL,
  domain            TEXT NOT NULL,
  domain_skeleton   TEXT NOT NULL,
  admin_amid        TEXT NOT NULL,
  challenge         TEXT NOT NULL,
  challenge_expires BIGINT NOT NULL,
  state             TEXT NOT NULL,
  failed_days       BIGINT NOT NULL,
  proved_at         BIGINT,
  next_check        BIGINT,
  dnssec            BOOLEAN NOT NULL,
  certificate       TEXT NOT NULL,
  created_at        BIGINT NOT NULL
);
CREATE UNIQUE INDEX organizations_verified ON organizations (domain) WHERE state = 'verified';
CREATE INDEX organizations_domain ON organizations (domain);
CREATE INDEX organizations_domain_skeleton ON organizations (domain_skeleton) WHERE state = 'verified';
CREATE INDEX organizations_name_key ON organizations (name_key) WHERE state = 'verified';
CREATE INDEX organizations_name_skeleton ON organizations (name_skeleton) WHERE state = 'verified';
CREATE INDEX organizations_admin ON organizations (admin_amid);
CREATE INDEX organizations_next ON organizations (next_check);

-- An agent may agree to join several, and joins one.
CREATE TABLE organization_consents (
  amid            TEXT NOT NULL REFERENCES agents (amid) ON DELETE CASCADE,
  organization_id TEXT NOT NULL REFERENCES organizations (id) ON DELETE CASCADE,
  expires_at      BIGINT NOT NULL,
  PRIMARY KEY (amid, organization_id)
);
CREATE INDEX organization_consents_organization ON organization_consents (organization_id);

CREATE TABLE organization_members (
  amid            TEXT PRIMARY KEY REFERENCES agents (amid) ON DELETE CASCADE,
  organization_id TEXT NOT NULL REFERENCES organizations (id) ON DELETE CASCADE,
  joined_at       BIGINT NOT NULL
);
CREATE INDEX organization_members_organization ON organization_members (organization_id);

-- +goose Down
DROP TABLE organization_members;
DROP TABLE organization_consents;
DROP TABLE organizations;
