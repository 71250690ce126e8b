package identity

import (
	"bytes"
	"encoding/hex"
	"errors"
	"strings"
	"testing"
	"time"

	"amesh/internal/wire"

	"github.com/google/go-cmp/cmp"
)

func testNotice() RelayNotice {
	return RelayNotice{
		Server: "relay:80", From: AMID([]byte("abcdefghijklmnopqrst")), To: AMID([]byte("tsrqponmlkjihgfedcba")),
		Message: [16]byte([]byte("0123456789abcdef")), Taken: time.Unix(1, 0).UTC(), GivenUp: time.Unix(259201, 0).UTC(),
		Reason: NoticeExpired,
	}
}

// The layout of relay.md §11, once.
func TestNoticeIsWrittenExactly(t *testing.T) {
	key := testKey(t, 1)
	want := testNotice()
	raw, err := SignNotice(key, want)
	if err != nil {
		t.Fatal(err)
	}
	const body = "0108" + "72656c61793a3830" + "6162636465666768696a6b6c6d6e6f7071727374" + "747372717" + "06f6e6d6c6b6a69686766656463" + "6261" +
		"30313233343536373839616263646566" + "0000000000000001" + "000000000003f481" + "01"
	if got := hex.EncodeToString(raw[:len(raw)-SignatureSize]); got != body {
		t.Errorf("body\n%s, want\n%s", got, body)
	}
	got, err := ParseNotice(raw, key.Public(), "relay:80", want.From)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(&want, got); diff != "" {
		t.Error(diff)
	}
	if id := NoticeID(raw); len(id) != 32 || NoticeID(nil) != "" {
		t.Errorf("id %q", id)
	}
}

func TestNoticesAreReadStrictly(t *testing.T) {
	key, other := testKey(t, 1), testKey(t, 2)
	n := testNotice()
	raw, err := SignNotice(key, n)
	if err != nil {
		t.Fatal(err)
	}
	mark, err := SignMark(key, RollbackMark{Server: n.Server})
	if err != nil {
		t.Fatal(err)
	}
	put := func(i int, v byte) []byte {
		b := bytes.Clone(raw)
		b[i] = v
		return b
	}
	for _, c := range []struct {
		name   string
		raw    []byte
		key    PublicKey
		server string
		from   AMID
		want   error
	}{
		{"by another relay", raw, other.Public(), n.Server, n.From, ErrSignature},
		{"under another name", raw, key.Public(), "relay:81", n.From, ErrMismatch},
		{"to somebody else", raw, key.Public(), n.Server, n.To, ErrMismatch},
		{"another message", put(50, 'x'), key.Public(), n.Server, n.From, ErrSignature},
		{"version 2", put(0, 2), key.Public(), n.Server, n.From, wire.ErrMalformed},
		{"no reason", put(82, 0), key.Public(), n.Server, n.From, wire.ErrMalformed},
		{"unknown reason", put(82, 3), key.Public(), n.Server, n.From, wire.ErrMalformed},
		{"before 1970", put(66, 0xFF), key.Public(), n.Server, n.From, wire.ErrMalformed},
		{"a byte short", raw[:len(raw)-1], key.Public(), n.Server, n.From, wire.ErrMalformed},
		{"a byte long", append(bytes.Clone(raw), 0), key.Public(), n.Server, n.From, wire.ErrMalformed},
		{"a mark (T04)", mark, key.Public(), n.Server, n.From, wire.ErrMalformed},
		{"nothing", nil, key.Public(), n.Server, n.From, wire.ErrMalformed},
	} {
		if got, err := ParseNotice(c.raw, c.key, c.server, c.from); !errors.Is(err, c.want) {
			t.Errorf("%s: %+v, %v, want %v", c.name, got, err, c.want)
		}
	}
	for name, change := range map[string]func(*RelayNotice){
		"server too long": func(n *RelayNotice) { n.Server = strings.Repeat("x", 256) },
		"control bytes":   func(n *RelayNotice) { n.Server = "\n" },
		"no reason":       func(n *RelayNotice) { n.Reason = 0 },
		"no time":         func(n *RelayNotice) { n.Taken = time.Time{} },
	} {
		bad := testNotice()
		change(&bad)
		if _, err := SignNotice(key, bad); !errors.Is(err, wire.ErrMalformed) {
			t.Errorf("%s: %v", name, err)
		}
	}
}
