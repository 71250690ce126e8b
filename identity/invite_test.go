package identity

import (
	"bytes"
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"errors"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"amesh/internal/wire"
)

const inviteFile = "testdata/invites.json"

func secretOf(b byte) InviteSecret { return InviteSecret(bytes.Repeat([]byte{b}, inviteSecretSize)) }

// plainInvite is the usual one: one relay, one use of everything else.
func plainInvite() Invite {
	return Invite{
		Secret: secretOf(0x11), Expires: noon.Add(24 * time.Hour), Epoch: 1, Sequence: 7, Name: "travel-bot",
		Relays: []string{"wss://relay.example"},
	}
}

func invites() map[string]Invite {
	full := plainInvite()
	full.Relays = []string{"wss://relay.example", "ws://127.0.0.1:8765"}
	full.PeerID, full.Addresses = "12D3KooWExample", []string{"/ip4/192.0.2.1/udp/47777/quic-v1"}
	full.Intents = []string{"travel/flights", "weather"}
	odd := plainInvite()
	odd.Name, odd.Relays = "", []string{"wss://relay.example/other", "wss://relay.example:444"}
	return map[string]Invite{
		"usual":           plainInvite(),
		"with everything": full,
		"unusual relays":  odd,
		"with nothing":    {Secret: secretOf(0), Expires: noon},
	}
}

// inviteVector is one line of testdata/invites.json.
type inviteVector struct {
	Seed    string `json:"signing_seed"`
	ID      string `json:"id"`
	Hash    string `json:"secret_hash"`
	Encoded string `json:"encoded"`
	Text    string `json:"text"`
}

func TestInvites(t *testing.T) {
	key := testKey(t, 1)
	known := make(map[string]inviteVector)
	if !*update {
		file, err := os.ReadFile(inviteFile)
		if err != nil {
			t.Fatal(err)
		}
		if err := json.Unmarshal(file, &known); err != nil {
			t.Fatal(err)
		}
	}
	for name, v := range invites() {
		raw, err := SignInvite(key, v)
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		hash := v.Secret.Hash()
		have := inviteVector{
			Seed: hex.EncodeToString(bytes.Repeat([]byte{1}, 32)), ID: v.ID().String(), Hash: hex.EncodeToString(hash[:]),
			Encoded: hex.EncodeToString(raw), Text: InviteText(raw),
		}
		if *update {
			known[name] = have
		}
		if d := cmp.Diff(known[name], have); d != "" {
			t.Errorf("%s: %s", name, d)
		}
		got, err := ReadInvite(have.Text)
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		v.SigningKey = key.Public()
		if d := cmp.Diff(v, *got); d != "" {
			t.Errorf("%s: read as another: %s", name, d)
		}
	}
	if *update {
		out, err := json.MarshalIndent(known, "", "  ")
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(inviteFile, append(out, '\n'), 0o644); err != nil {
			t.Fatal(err)
		}
	}
}

// What chat programs, terminals and people do to a text on its way.
func TestInviteSurvivesItsWay(t *testing.T) {
	raw, err := SignInvite(testKey(t, 1), plainInvite())
	if err != nil {
		t.Fatal(err)
	}
	text := InviteText(raw)
	var wrapped strings.Builder
	for i, c := range text {
		if i%37 == 36 {
			wrapped.WriteString("\r\n  ")
		}
		wrapped.WriteRune(c)
	}
	for name, s := range map[string]string{
		"as it is":              text,
		"with a line end":       text + "\n",
		"the command":           "amesh join " + text,
		"the command, flags":    "amesh join " + text + " --name bob",
		"capitals of a QR code": strings.ToUpper(text),
		"a telephone's capital": strings.ToUpper(text[:1]) + text[1:],
		"wrapped":               wrapped.String(),
		"zero width spaces":     text[:50] + "\u200b" + text[50:],
		"in quotes":             "“" + text + "”",
		"a link":                "amesh:" + text,
		"a web link":            "https://example.org/join#" + text,
		"a full stop":           text + ".",
		"in brackets":           "(" + text + ")",
		"in angle brackets":     "<" + text + "> is it",
		"a sentence behind it":  text + " tell me when you are in",
		"words of its letters":  text + " le sexe\nzut",
		"a letter glued to it":  text + "bis",
		"a quoted mail":         "> Hello,\n> amesh join " + strings.ReplaceAll(wrapped.String(), "\r\n  ", "\r\n> ") + "\n> \n> Bob",
		"all that was printed": text + "\n\x1b[7m█▀▀▀█ ▄\x1b[0m\ninvite 7f3a2b1c: lets in 1 agent, until 2030-01-01 10:00:00; hand it over like a key\n" +
			"the other side:  amesh join amesh1…\n",
		"all but the code": text + "\ninvite 7f3a2b1c: lets in 1 agent\nthe other side:  amesh join amesh1…\n",
	} {
		if _, err := ReadInvite(s); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// A typing mistake is told from a forgery, and where it can be it is shown.
func TestInviteTypedWrong(t *testing.T) {
	raw, err := SignInvite(testKey(t, 1), plainInvite())
	if err != nil {
		t.Fatal(err)
	}
	text := InviteText(raw)
	other := func(c byte) byte {
		if c == 'q' {
			return 'p'
		}
		return 'q'
	}
	for i := len(inviteMark); i < len(text); i++ {
		for name, s := range map[string]string{
			"changed": text[:i] + string(other(text[i])) + text[i+1:],
			"dropped": text[:i] + text[i+1:],
			"doubled": text[:i+1] + text[i:],
			"cut":     text[:i],
		} {
			if s == text {
				continue
			}
			if _, err := ReadInvite(s); !errors.Is(err, ErrInviteText) {
				t.Fatalf("%s at %d: %v", name, i, err)
			}
		}
	}
	for s, want := range map[string]string{
		"":                             "begins with amesh1",
		"hello":                        "begins with amesh1",
		"amesh1":                       "cut short",
		"amesh1qqq":                    "cut short",
		text[:40] + "b" + text[41:]:    "'b'",
		strings.Repeat("amesh1q", 9e3): "too long",
	} {
		if _, err := ReadInvite(s); !errors.Is(err, ErrInviteText) || !strings.Contains(err.Error(), want) {
			t.Errorf("%.20q: %v, want %q", s, err, want)
		}
	}
}

// Nobody between the two can point the invite elsewhere: every bit is signed.
func TestInviteForged(t *testing.T) {
	raw, err := SignInvite(testKey(t, 1), plainInvite())
	if err != nil {
		t.Fatal(err)
	}
	for i := range raw {
		for bit := range 8 {
			forged := bytes.Clone(raw)
			forged[i] ^= 1 << bit
			if _, err := ParseInvite(forged); err == nil {
				t.Fatalf("bit %d of byte %d does not matter", bit, i)
			}
		}
	}
	swapped := plainInvite()
	swapped.Relays = []string{"wss://relay.evil"}
	stolen, err := SignInvite(testKey(t, 2), swapped)
	if err != nil {
		t.Fatal(err)
	}
	copy(stolen[1:], raw[1:33]) // under the inviter's key
	if _, err := ParseInvite(stolen); !errors.Is(err, ErrSignature) {
		t.Errorf("signed by another: %v", err)
	}
}

// There is one way to write an invite, also for its owner.
func TestInviteRefused(t *testing.T) {
	key := testKey(t, 1)
	for name, change := range map[string]func(*Invite){
		"three relays":             func(v *Invite) { v.Relays = []string{"wss://a", "wss://b", "wss://c"} },
		"a relay twice":            func(v *Invite) { v.Relays = []string{"wss://a", "wss://a/v1/connect"} },
		"an empty relay":           func(v *Invite) { v.Relays = []string{"wss://"} },
		"control characters":       func(v *Invite) { v.Name = "a\nb" },
		"a long name":              func(v *Invite) { v.Name = strings.Repeat("a", 33) },
		"addresses without a peer": func(v *Invite) { v.Addresses = []string{"/ip4/192.0.2.1/tcp/1"} },
		"a peer without addresses": func(v *Invite) { v.PeerID = "12D3KooW" },
		"nine intents":             func(v *Invite) { v.Intents = strings.Split("a,b,c,d,e,f,g,h,i", ",") },
		"before 1970":              func(v *Invite) { v.Expires = time.Unix(-1, 0) },
		"after 2106":               func(v *Invite) { v.Expires = time.Unix(1<<32, 0) },
		"too much of everything":   func(v *Invite) { v.Intents = strings.Fields(strings.Repeat(strings.Repeat("a", 128)+" ", 8)) },
	} {
		v := plainInvite()
		change(&v)
		if _, err := SignInvite(key, v); !errors.Is(err, wire.ErrMalformed) {
			t.Errorf("%s: %v", name, err)
		}
	}
	raw, err := SignInvite(key, plainInvite())
	if err != nil {
		t.Fatal(err)
	}
	long := resign(t, key, TagInvite, raw, func(b []byte) {
		i := bytes.Index(b, []byte("relay.example"))
		copy(b[i:], "wss://a.e.org") // as long, and not the short form
	})
	if _, err := ParseInvite(long); !errors.Is(err, wire.ErrMalformed) {
		t.Errorf("a relay written out: %v", err)
	}
}

func TestInviteEnds(t *testing.T) {
	v := plainInvite()
	for late, want := range map[time.Duration]error{0: nil, time.Second: ErrInviteExpired} {
		if err := v.Valid(v.Expires.Add(late)); !errors.Is(err, want) {
			t.Errorf("%s late: %v", late, err)
		}
	}
}

func TestInviteID(t *testing.T) {
	id := secretOf(0x11).ID()
	got, err := ParseInviteID(strings.ToUpper(id.String()))
	if err != nil || got != id {
		t.Errorf("%s is read as %s, %v", id, got, err)
	}
	for _, s := range []string{"", "7f3a", "zzzzzzzz", "7f3a7f3a7f"} {
		if _, err := ParseInviteID(s); !errors.Is(err, wire.ErrMalformed) {
			t.Errorf("%q: %v", s, err)
		}
	}
}

// A stand-in carries the agent's name and nothing that anybody could open.
func TestStandIn(t *testing.T) {
	of := testKey(t, 1).Public()
	b, err := StandIn(rand.Reader, of, noon)
	if err != nil {
		t.Fatal(err)
	}
	if b.SigningKey != of || b.AMID != of.AMID() || b.Usable(noon) != nil {
		t.Errorf("%+v", b)
	}
	if _, err := ParseBundle(b.Raw()); err != nil {
		t.Errorf("not a bundle of anybody: %v", err)
	}
	other, err := StandIn(rand.Reader, of, noon)
	if err != nil || other.ID() == b.ID() {
		t.Errorf("the same twice, %v", err)
	}
}

func FuzzReadInvite(f *testing.F) {
	for _, v := range invites() {
		raw, err := SignInvite(testKey(f, 1), v)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(InviteText(raw), raw)
	}
	key := testKey(f, 1)
	f.Fuzz(func(t *testing.T, text string, raw []byte) {
		if v, err := ReadInvite(text); err == nil {
			if _, err := SignInvite(key, *v); err != nil {
				t.Errorf("%q was read, and cannot be written: %v", text, err)
			}
		}
		if len(raw) < SignatureSize || len(raw) > MaxInviteSize {
			return
		}
		signed := resign(t, key, TagInvite, raw, func([]byte) {})
		v, err := ParseInvite(signed)
		if err != nil || v.SigningKey != key.Public() {
			return
		}
		if out, err := SignInvite(key, *v); err != nil || !bytes.Equal(signed, out) {
			t.Errorf("%x was read and is written as %x: %v", signed, out, err)
		}
		if back, err := inviteBytes(InviteText(signed)); err != nil || !bytes.Equal(back, signed) {
			t.Errorf("%x does not come back from its text: %v", signed, err)
		}
	})
}
