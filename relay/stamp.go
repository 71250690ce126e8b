package relay

import (
	"errors"
	"strings"
	"time"
)

var errStamp = errors.New("not an RFC 3339 timestamp")

// stampBytes bounds a timestamp's text: nine digits and an offset need 35.
const stampBytes = 40

// parseStamp reads an RFC 3339 timestamp. Go's parser also takes a comma before
// the fraction, which no other implementation does.
func parseStamp(s string) (time.Time, error) {
	if len(s) > stampBytes || strings.ContainsRune(s, ',') {
		return time.Time{}, errStamp
	}
	t, err := time.Parse(time.RFC3339Nano, s)
	if err != nil {
		return time.Time{}, errStamp
	}
	return t, nil
}

// rerender is what the Rust relay verifies signatures over: UTC, "+00:00", and the
// shortest of no, 3, 6 or 9 digits that is exact (AgentMesh §2.3).
func rerender(t time.Time) string {
	return t.UTC().Format("2006-01-02T15:04:05"+fraction(t)) + "+00:00"
}

// wireStamp is how the relay writes times: at most six digits, because Python
// before 3.11 cannot read nine, and a Z (AgentMesh §2.2).
func wireStamp(t time.Time) string {
	t = t.Truncate(time.Microsecond)
	return t.UTC().Format("2006-01-02T15:04:05"+fraction(t)) + "Z"
}

// signStamp is the form in which a client signs: whole seconds with an explicit
// offset read the same under every implementation's rule.
func signStamp(t time.Time) string {
	return t.UTC().Format("2006-01-02T15:04:05") + "+00:00"
}

func fraction(t time.Time) string {
	ns := t.Nanosecond()
	switch {
	case ns == 0:
		return ""
	case ns%1_000_000 == 0:
		return ".000"
	case ns%1_000 == 0:
		return ".000000"
	}
	return ".000000000"
}
