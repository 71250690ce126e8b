package certificate

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"errors"
	"strings"
	"testing"
	"time"

	"amesh/identity"
)

// noon is when everything in these tests happens.
var noon = time.Date(2026, 11, 21, 12, 0, 0, 0, time.UTC)

func at(t time.Time) func() time.Time { return func() time.Time { return t } }

func testKey(t testing.TB, n byte) identity.PrivateKey {
	t.Helper()
	k, err := identity.PrivateKeyFromSeed(bytes.Repeat([]byte{n}, 32))
	if err != nil {
		t.Fatal(err)
	}
	return k
}

// dice gives serials 01 00…, 02 00…, and so on.
type dice struct{ n byte }

func (d *dice) Read(p []byte) (int, error) {
	clear(p)
	d.n++
	p[0] = d.n
	return len(p), nil
}

func testIssuer(t testing.TB) *Issuer { return NewIssuer(testKey(t, 1), &dice{}, at(noon)) }

func must[T any](v T, err error) func(testing.TB) T {
	return func(t testing.TB) T {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
}

// fresh trusts the issuer and has its empty list of now.
func fresh(t testing.TB, i *Issuer) Trust {
	t.Helper()
	list := must(i.IssueList(1, nil))(t)
	return must(Trust{Roots: []identity.PublicKey{i.Root()}}.Update(list, noon))(t)
}

// resigned is a document with members changed, and signed again by key.
func resigned(t testing.TB, text string, key identity.PrivateKey, change func(map[string]any)) string {
	t.Helper()
	raw := must(decodeText(text))(t)
	object, _, err := unseal(raw)
	if err != nil {
		t.Fatal(err)
	}
	var members map[string]any
	if err := json.Unmarshal(object, &members); err != nil {
		t.Fatal(err)
	}
	change(members)
	object = must(json.Marshal(members))(t)
	return base64.StdEncoding.EncodeToString(seal(key, tagDocument, object))
}

// altered is a text whose document had one part replaced, its signature kept.
func altered(t testing.TB, text, old, new string) string {
	t.Helper()
	raw := must(decodeText(text))(t)
	if !bytes.Contains(raw, []byte(old)) {
		t.Fatalf("%q is not in %s", old, raw)
	}
	return base64.StdEncoding.EncodeToString([]byte(strings.Replace(string(raw), old, new, 1)))
}

// code is the code in an error.
func code(err error) string {
	for _, c := range []error{ErrExpired, ErrRevoked, ErrUntrusted, ErrStale} {
		if errors.Is(err, c) {
			return c.Error()
		}
	}
	return ""
}
