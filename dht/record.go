package dht

import (
	"errors"
	"fmt"
	"strings"
	"time"

	"amesh/identity"
)

// namespace is the first part of every key of an agent record.
const namespace = "amesh-agent"

var (
	// ErrRecord reports bytes that are no agent record valid now, or one filed
	// under somebody else's name.
	ErrRecord = errors.New("agent record refused")
	// ErrOlder reports a record where a newer one is known already: the sequence
	// must be raised.
	ErrOlder = errors.New("a newer agent record is known")
)

func recordKey(a identity.AMID) string { return "/" + namespace + "/" + a.String() }

// parseKey accepts exactly what recordKey writes.
func parseKey(key string) (identity.AMID, error) {
	text, ok := strings.CutPrefix(key, "/"+namespace+"/")
	if !ok || strings.Contains(text, ":") {
		return identity.AMID{}, fmt.Errorf("%w: key %.60q", ErrRecord, key)
	}
	a, err := identity.ParseAMID(text)
	if err != nil {
		return identity.AMID{}, fmt.Errorf("%w: key: %w", ErrRecord, err)
	}
	return a, nil
}

// checkRecord verifies everything about a record: form, size, name, signatures
// and times. All bytes from the network pass through here, on servers before
// they are kept and on readers before they are believed.
func checkRecord(raw []byte, want identity.AMID, now time.Time) (*identity.AgentRecord, error) {
	rec, err := identity.ParseAgentRecord(raw)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrRecord, err)
	}
	if rec.AMID != want {
		return nil, fmt.Errorf("%w: %w: record of %s under the key of %s", ErrRecord, identity.ErrMismatch, rec.AMID, want)
	}
	if err := rec.Valid(now); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrRecord, err)
	}
	return rec, nil
}

// validator is Kademlia's view of checkRecord.
type validator struct {
	clock func() time.Time
}

// Validate accepts a record under the key of the agent that signed it.
func (v validator) Validate(key string, raw []byte) error {
	if len(raw) > identity.MaxRecordSize {
		return fmt.Errorf("%w: %d bytes, at most %d", ErrRecord, len(raw), identity.MaxRecordSize)
	}
	want, err := parseKey(key)
	if err != nil {
		return err
	}
	_, err = checkRecord(raw, want, v.clock())
	return err
}

// Select returns the index of the newest of records that Validate accepted.
func (v validator) Select(_ string, raws [][]byte) (int, error) {
	if len(raws) == 0 {
		return 0, fmt.Errorf("%w: none to choose from", ErrRecord)
	}
	best := 0
	for i, raw := range raws {
		if identity.Newer(raw, raws[best]) > 0 {
			best = i
		}
	}
	return best, nil
}
