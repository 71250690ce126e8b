package content

import (
	"fmt"
	"strings"
	"time"
	"unicode/utf8"

	"amesh/internal/wire"
)

// CheckIntent accepts an intent: parts of [a-z0-9._-]+ joined by "/", at most
// 128 bytes. It returns ErrMalformed.
func CheckIntent(s string) error {
	if s == "" || len(s) > MaxIntent {
		return malformed("intent of %d bytes, want 1 to %d", len(s), MaxIntent)
	}
	for part := range strings.SplitSeq(s, "/") {
		if part == "" || strings.ContainsFunc(part, notIntent) {
			return malformed("intent %q (lower-case letters, digits, ._- and single slashes)", s)
		}
	}
	return nil
}

func notIntent(r rune) bool {
	return (r < 'a' || r > 'z') && (r < '0' || r > '9') && r != '.' && r != '_' && r != '-'
}

// CheckFileName accepts the base name of a file: text without slash, backslash
// or control character, neither "." nor "..". The empty name, which means none,
// passes too. It returns ErrMalformed.
func CheckFileName(s string) error {
	if err := checkText("file name", s, MaxFileName); err != nil {
		return err
	}
	if s == "." || s == ".." || strings.ContainsAny(s, `/\`) {
		return malformed("file name %.40q is no base name", s)
	}
	return nil
}

// Clean makes text of s that passes as such: control characters become spaces,
// what is no UTF-8 is replaced, and it is cut to max bytes between characters.
func Clean(s string, max int) string {
	s = strings.Map(func(r rune) rune {
		if isControl(r) {
			return ' '
		}
		return r
	}, strings.ToValidUTF8(s, "�"))
	if len(s) <= max {
		return s
	}
	for max > 0 && !utf8.RuneStart(s[max]) {
		max--
	}
	return s[:max]
}

func isControl(r rune) bool { return r < 0x20 || r == 0x7F }

func checkText(what, s string, max int) error {
	if len(s) > max {
		return malformed("%s of %d bytes, at most %d", what, len(s), max)
	}
	if !utf8.ValidString(s) || strings.ContainsFunc(s, isControl) {
		return malformed("%s is not text", what)
	}
	return nil
}

// checkList holds for lists of names: each is text and none is empty.
func checkList(what string, list []string, count, size int) error {
	if len(list) > count {
		return malformed("%d times %s, at most %d", len(list), what, count)
	}
	for _, s := range list {
		if s == "" {
			return malformed("empty %s", what)
		}
		if err := checkText(what, s, size); err != nil {
			return err
		}
	}
	return nil
}

// checkTime refuses times before 1970, the zero time.Time among them, and after
// 9999.
func checkTime(what string, t time.Time) error {
	if s := t.Unix(); s < 0 || s > latest {
		return malformed("%s at %d", what, s)
	}
	return nil
}

func readSeconds(r *wire.Reader) time.Time {
	s := r.I64()
	if s < 0 || s > latest {
		r.Fail("time %d s", s)
		return time.Time{}
	}
	return time.Unix(s, 0).UTC()
}

func readMillis(r *wire.Reader) time.Time {
	ms := r.I64()
	if ms < 0 || ms/1000 > latest {
		r.Fail("time %d ms", ms)
		return time.Time{}
	}
	return time.UnixMilli(ms).UTC()
}

// checkEnum holds for numbers of a closed list that starts at 1.
func checkEnum[T ~uint8](what string, v, last T) error {
	if v < 1 || v > last {
		return fmt.Errorf("%w: %s %d", ErrMalformed, what, v)
	}
	return nil
}
