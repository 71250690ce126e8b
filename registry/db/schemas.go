package db

import (
	"errors"
	"fmt"
	"time"

	"amesh/identity"
)

// MaxSchemas is how many schemas one agent may publish.
const MaxSchemas = 100

// ErrTaken reports an owner that somebody else has, or an id that is there with another
// content: what was published once does not change.
var ErrTaken = errors.New("taken")

// Schema is a JSON schema that an agent published.
type Schema struct {
	ID        string
	Owner     string // the first part of the id, which belongs to the first who used it
	Publisher identity.AMID
	Body      []byte
	Published time.Time
}

// PutSchema publishes a schema and reports whether it is new. It returns ErrTaken for an
// owner under which another agent publishes, and for an id that is there with another
// body; ErrFull when the agent has MaxSchemas.
func (t *Tx) PutSchema(s Schema) (bool, error) {
	var body []byte
	err := one(t.QueryRow("SELECT body FROM schemas WHERE id = $1 AND publisher = $2", s.ID, s.Publisher.String()).Scan(&body))
	switch {
	case err == nil && string(body) == string(s.Body):
		return false, nil
	case err == nil:
		return false, fmt.Errorf("%w: %s was published with another content", ErrTaken, s.ID)
	case !errors.Is(err, ErrNotFound):
		return false, fmt.Errorf("read schema: %w", err)
	}
	others, err := t.exists("SELECT 1 FROM schemas WHERE owner = $1 AND publisher <> $2 LIMIT 1", s.Owner, s.Publisher.String())
	if err != nil {
		return false, fmt.Errorf("read schema: %w", err)
	}
	if others {
		return false, fmt.Errorf("%w: another agent publishes under %s", ErrTaken, s.Owner)
	}
	var n int
	if err := t.QueryRow("SELECT count(*) FROM schemas WHERE publisher = $1", s.Publisher.String()).Scan(&n); err != nil {
		return false, fmt.Errorf("count schemas: %w", err)
	}
	if n >= MaxSchemas {
		return false, fmt.Errorf("%w: %d schemas", ErrFull, n)
	}
	_, err = t.Exec("INSERT INTO schemas (id, owner, publisher, body, published_at) VALUES ($1, $2, $3, $4, $5)",
		s.ID, s.Owner, s.Publisher.String(), s.Body, Micros(s.Published))
	if err != nil {
		return false, fmt.Errorf("write schema: %w", err)
	}
	return true, nil
}

// Schema finds a schema by its id; it returns ErrNotFound.
func (t *Tx) Schema(id string) (Schema, error) {
	row := t.QueryRow("SELECT id, owner, publisher, body, published_at FROM schemas WHERE id = $1", id)
	return scanSchema(row.Scan)
}

// Schemas returns at most limit schemas in the order of their ids, behind one id, without
// their bodies. With a publisher only his.
func (t *Tx) Schemas(publisher *identity.AMID, after string, limit int) ([]Schema, error) {
	query, args := "SELECT id, owner, publisher, '', published_at FROM schemas WHERE id > $1", []any{after, limit}
	if publisher != nil {
		query, args = query+" AND publisher = $3", append(args, publisher.String())
	}
	var list []Schema
	err := t.Query(func(scan func(...any) error) error {
		s, err := scanSchema(scan)
		list = append(list, s)
		return err
	}, query+" ORDER BY id LIMIT $2", args...)
	if err != nil {
		return nil, fmt.Errorf("list schemas: %w", err)
	}
	return list, nil
}

func scanSchema(scan func(...any) error) (Schema, error) {
	var s Schema
	var publisher string
	var at int64
	if err := one(scan(&s.ID, &s.Owner, &publisher, &s.Body, &at)); err != nil {
		return Schema{}, err
	}
	var err error
	if s.Publisher, err = identity.ParseAMID(publisher); err != nil {
		return Schema{}, fmt.Errorf("row of a schema: %w", err)
	}
	s.Published = Time(at)
	return s, nil
}
