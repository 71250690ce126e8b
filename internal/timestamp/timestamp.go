// Package timestamp reads and writes the times of the 0.2 wire. They are text that is
// signed, and three implementations write the same moment in three ways.
package timestamp

import (
	"errors"
	"strings"
	"time"
)

// ErrMalformed reports text that is no RFC 3339 timestamp.
var ErrMalformed = errors.New("not an RFC 3339 timestamp")

// maxBytes bounds a timestamp's text: nine digits and an offset need 35.
const maxBytes = 40

// Parse reads an RFC 3339 timestamp. Go's parser also takes a comma before the
// fraction, which no other implementation does. It returns ErrMalformed.
func Parse(s string) (time.Time, error) {
	if len(s) > maxBytes || strings.ContainsRune(s, ',') {
		return time.Time{}, ErrMalformed
	}
	t, err := time.Parse(time.RFC3339Nano, s)
	if err != nil {
		return time.Time{}, ErrMalformed
	}
	return t, nil
}

// Rerender is what the Rust servers verify signatures over: UTC, "+00:00", and the
// shortest of no, 3, 6 or 9 digits that is exact (AgentMesh §2.3).
func Rerender(t time.Time) string {
	return t.UTC().Format("2006-01-02T15:04:05"+fraction(t)) + "+00:00"
}

// Text is how our servers write times: at most six digits, because Python before 3.11
// cannot read nine, and a Z (AgentMesh §2.2).
func Text(t time.Time) string {
	t = t.Truncate(time.Microsecond)
	return t.UTC().Format("2006-01-02T15:04:05"+fraction(t)) + "Z"
}

// ToSign is the form in which a client signs: whole seconds with an explicit offset
// read the same under every implementation's rule.
func ToSign(t time.Time) string {
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
