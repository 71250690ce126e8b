-- +goose Up
-- How many certificates one owner was given lately.
CREATE INDEX certificates_owner ON certificates (owner, issued_at);

-- +goose Down
DROP INDEX certificates_owner;
