package identity

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"testing"

	"github.com/mr-tron/base58"
)

// T04: a signature made for one purpose is worthless for every other.
func TestT04TagsSquared(t *testing.T) {
	tags := []Tag{
		TagKeyCertificate, TagBundle, TagOneTimeKey, TagAgentRecord, TagKnock,
		TagRenew, TagRollbackMark, TagRevocation, TagSuccessor, TagRelayConnect, TagRelayNotice, TagMessage, TagInvite,
	}
	key, body := testKey(t, 1), []byte("the same bytes")
	for _, made := range tags {
		sig := key.Sign(made, body)
		for _, used := range tags {
			err := key.Public().Verify(used, body, sig)
			if (err == nil) != (made == used) {
				t.Errorf("made for %q, used as %q: %v", made, used, err)
			}
		}
		if err := key.Public().VerifyTimestamp(string(body), sig); !errors.Is(err, ErrSignature) {
			t.Errorf("made for %q, used as a timestamp: %v", made, err)
		}
	}
	stamp := key.SignTimestamp("2026-03-01T12:00:00Z")
	for _, used := range tags {
		if err := key.Public().Verify(used, []byte("2026-03-01T12:00:00Z"), stamp); !errors.Is(err, ErrSignature) {
			t.Errorf("timestamp used as %q: %v", used, err)
		}
	}
}

// The same with whole objects: the body of one, signed as another.
func TestT04ObjectsUnderOtherTags(t *testing.T) {
	key := testKey(t, 1)
	oneTime, err := SignOneTimeKey(key, OneTimeKey{Kind: KindOneTime, Created: noon, Expires: noon.AddDate(0, 0, 9), Public: make32(testExchange(t, 9))})
	if err != nil {
		t.Fatal(err)
	}
	cert, err := SignKeyCertificate(key, testBundle(t, 1).Certificate)
	if err != nil {
		t.Fatal(err)
	}
	for tag, c := range map[Tag]struct {
		raw   []byte
		parse func([]byte) error
	}{
		TagBundle:         {signedBundle(t, 1), func(b []byte) error { _, err := ParseBundle(b); return err }},
		TagAgentRecord:    {signedRecord(t, 1), func(b []byte) error { _, err := ParseAgentRecord(b); return err }},
		TagOneTimeKey:     {oneTime, func(b []byte) error { _, err := ParseOneTimeKey(b, key.Public()); return err }},
		TagKeyCertificate: {cert, func(b []byte) error { _, err := ParseKeyCertificate(b, key.Public()); return err }},
	} {
		for _, used := range []Tag{TagKeyCertificate, TagBundle, TagOneTimeKey, TagAgentRecord, TagKnock, TagRelayConnect} {
			err := c.parse(resign(t, key, used, c.raw, func([]byte) {}))
			if used == tag && err != nil {
				t.Errorf("%q: %v", tag, err)
			}
			if used != tag && !errors.Is(err, ErrSignature) {
				t.Errorf("%q signed as %q: got %v, want ErrSignature", tag, used, err)
			}
		}
	}
}

func make32(k [32]byte) []byte { return k[:] }

// T02: S of L or more is a second form of the same signature.
func TestT02SignatureForms(t *testing.T) {
	key, body := testKey(t, 1), []byte("body")
	sig := key.Sign(TagMessage, body)
	order := unhex(t, "edd3f55c1a631258d69cf7a2def9de1400000000000000000000000000000010")
	big, carry := bytes.Clone(sig), 0
	for i := range order {
		carry += int(big[32+i]) + int(order[i])
		big[32+i] = byte(carry)
		carry >>= 8
	}
	for name, s := range map[string][]byte{
		"S plus L": big, "empty": nil, "short": sig[:63], "long": append(bytes.Clone(sig), 0), "zeros": make([]byte, 64),
	} {
		if err := key.Public().Verify(TagMessage, body, s); !errors.Is(err, ErrSignature) {
			t.Errorf("%s: got %v, want ErrSignature", name, err)
		}
	}
	for bit := range len(sig) * 8 {
		s := bytes.Clone(sig)
		s[bit/8] ^= 1 << (bit % 8)
		if err := key.Public().Verify(TagMessage, body, s); !errors.Is(err, ErrSignature) {
			t.Fatalf("bit %d: got %v, want ErrSignature", bit, err)
		}
	}
}

// Names computed by both SDKs.
func TestAMID(t *testing.T) {
	for seed, want := range map[byte]string{
		0: "GrRZYotwid5A4FxaddwPxsxChzo",
		1: "jPUMBAvNeJo8USHNtJ81Wm7cqnk",
		2: "2Uq51iFVLnqmgbVY3vLZtMD5PR87",
		3: "3YDAM5ZLRKg7eHH1Zs6sSMwkga8w",
	} {
		a := testKey(t, seed).AMID()
		if a.String() != want {
			t.Errorf("seed %d: %s, want %s", seed, a, want)
		}
		for _, text := range []string{want, "did:agentmesh:" + want} {
			if back, err := ParseAMID(text); err != nil || back != a {
				t.Errorf("%s: got %s, %v", text, back, err)
			}
		}
	}
	for name, text := range map[string]string{
		"empty": "", "other alphabet": "0OIlGrRZYotwid5A4FxaddwPxs", "21 bytes": base58.Encode(make([]byte, 21)),
		"19 bytes": base58.Encode(bytes.Repeat([]byte{9}, 19)), "leading one": "1" + "GrRZYotwid5A4FxaddwPxsxChzo",
		"other method": "did:key:GrRZYotwid5A4FxaddwPxsxChzo", "space": " GrRZYotwid5A4FxaddwPxsxChzo",
	} {
		if a, err := ParseAMID(text); !errors.Is(err, ErrAMID) {
			t.Errorf("%s: got %s, %v, want ErrAMID", name, a, err)
		}
	}
	var zero AMID
	if got, err := ParseAMID(zero.String()); err != nil || !got.IsZero() {
		t.Errorf("zero: %v, %v", got, err)
	}
}

// T12: no verb and no encoder shows a key.
func TestT12KeysAreHidden(t *testing.T) {
	key := testKey(t, 0xA7)
	id := &Identity{Key: key, Exchange: ExchangeKey(bytes.Repeat([]byte{0xB7}, 32))}
	var out strings.Builder
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%x", "%X", "%d", "%q"} {
		fmt.Fprintf(&out, verb+verb+verb+"\n", id, key, id.Exchange)
	}
	j, err := json.Marshal(id)
	if err != nil {
		t.Fatal(err)
	}
	out.Write(j)
	slog.New(slog.NewJSONHandler(&out, nil)).Info("x", "id", id, "key", key)
	for _, canary := range []string{"a7a7", "A7A7", "167 167", "b7b7", "B7B7", "183 183", "p6en", "t7e3"} {
		if strings.Contains(out.String(), canary) {
			t.Errorf("%q shows up", canary)
		}
	}
	if !strings.Contains(out.String(), "(hidden)") {
		t.Error("nothing says (hidden)")
	}
}
