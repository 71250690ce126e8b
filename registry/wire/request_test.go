package wire

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"math/rand/v2"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"testing"
	"time"

	"amesh/identity"
	"amesh/internal/dialled"
)

var noon = time.Date(2026, 2, 1, 12, 0, 0, 0, time.UTC)

func testKey(t interface{ Fatal(...any) }, n byte) identity.PrivateKey {
	key, err := identity.PrivateKeyFromSeed(bytes.Repeat([]byte{n}, 32))
	if err != nil {
		t.Fatal(err)
	}
	return key
}

// received is a request as a server gets it.
type received struct {
	method, target, header string
	body                   []byte
	local                  string
}

func (r received) verify(names dialled.Names, now time.Time) (Proof, error) {
	req := httptest.NewRequest(http.MethodPost, "http://ignored.example/", nil)
	req.Method, req.RequestURI = r.method, r.target
	req.Header.Set(SignatureHeader, r.header)
	local, _ := net.ResolveTCPAddr("tcp", r.local)
	req = req.WithContext(context.WithValue(req.Context(), http.LocalAddrContextKey, net.Addr(local)))
	return VerifyRequest(req, r.body, names, now)
}

func sign(t interface{ Fatal(...any) }, key identity.PrivateKey, method, url string, body []byte) received {
	req, err := http.NewRequest(method, url, bytes.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	if err := SignRequest(req, body, key, noon); err != nil {
		t.Fatal(err)
	}
	return received{method, req.URL.RequestURI(), req.Header.Get(SignatureHeader), body, "203.0.113.5:8080"}
}

func refused(err error) bool { return HasCode(err, CodeSignatureInvalid) }

// T67: whatever of a signed request is changed, it is refused: any bit of method,
// path, query, body and of the header with host, time and nonce.
func TestT67NothingOfARequestCanBeChanged(t *testing.T) { testChanges(t, 500) }

func TestSoakT67NothingOfARequestCanBeChanged(t *testing.T) {
	if os.Getenv("AMESH_SOAK") != "1" {
		t.Skip("takes a minute under the race detector; set AMESH_SOAK=1")
	}
	testChanges(t, 10_000)
}

func testChanges(t *testing.T, n int) {
	key := testKey(t, 1)
	names := dialled.Names{"registry.example:443", "registry.example:80"}
	dice := rand.New(rand.NewPCG(6, 7))
	flip := func(b []byte) []byte {
		b = bytes.Clone(b)
		if len(b) == 0 {
			return []byte{0}
		}
		b[dice.IntN(len(b))] ^= 1 << dice.IntN(8)
		return b
	}
	for range n {
		body := make([]byte, dice.IntN(200))
		for i := range body {
			body[i] = byte(dice.Uint32())
		}
		r := sign(t, key, "POST", "https://registry.example/v1/registry/status?x=%C3%BC&y=1", body)
		if p, err := r.verify(names, noon); err != nil || p.Key != key.Public() || p.AMID != key.AMID() || !p.At.Equal(noon) {
			t.Fatalf("unchanged: %+v %v", p, err)
		}
		changed := r
		switch dice.IntN(5) {
		case 0:
			changed.method = string(flip([]byte(r.method)))
		case 1:
			changed.target = string(flip([]byte(r.target)))
		case 2:
			changed.body = flip(r.body)
		case 3:
			changed.body = append(bytes.Clone(r.body), 0)
		default:
			changed.header = string(flip([]byte(r.header)))
		}
		if _, err := changed.verify(names, noon); !refused(err) {
			t.Fatalf("accepted %+v: %v", changed, err)
		}
	}
}

// What is read from a header is all that stands in it.
func FuzzHeader(f *testing.F) {
	f.Add(sign(f, testKey(f, 1), "GET", "http://127.0.0.1:8080/x", nil).header)
	f.Add("v1 host=,amid=,key=,ts=0,nonce=,sig=")
	f.Fuzz(func(t *testing.T, value string) {
		p, s, sig, err := parseHeader(value)
		if err != nil {
			return
		}
		again := fmt.Sprintf("v1 host=%s,amid=%s,key=%s,ts=%d,nonce=%s,sig=%s",
			s.host, p.AMID, p.Key.Text(), p.At.Unix(), EncodeBase64(p.Nonce[:]), EncodeBase64(sig))
		if again != value {
			t.Errorf("%q was read as %q", value, again)
		}
	})
}

func TestT67RequestForAnotherServer(t *testing.T) {
	key := testKey(t, 1)
	for _, c := range []struct {
		url   string
		names dialled.Names
		want  bool
	}{
		{"https://registry.example/x", dialled.Names{"registry.example:443"}, true},
		{"https://REGISTRY.example:443/x", dialled.Names{"registry.example:443"}, true},
		{"http://registry.example/x", dialled.Names{"registry.example:443"}, false},
		{"https://evil.example/x", dialled.Names{"registry.example:443"}, false},
		{"http://127.0.0.1:8080/x", dialled.Names{"registry.example:443"}, false},
		{"http://127.0.0.1:8080/x", nil, true},
		{"http://203.0.113.5:8080/x", nil, true},
		{"http://203.0.113.6:8080/x", nil, false},
		{"https://registry.example/x", nil, false},
	} {
		if _, err := sign(t, key, "GET", c.url, nil).verify(c.names, noon); (err == nil) != c.want || err != nil && !refused(err) {
			t.Errorf("%s at %v: %v", c.url, c.names, err)
		}
	}
}

func TestT67WindowOfARequest(t *testing.T) {
	r := sign(t, testKey(t, 1), "GET", "http://127.0.0.1:8080/x", nil)
	for after, want := range map[time.Duration]bool{
		0: true, MaxAge: true, MaxAge + time.Second: false, -MaxAhead: true, -MaxAhead - time.Second: false,
	} {
		if _, err := r.verify(nil, noon.Add(after)); (err == nil) != want {
			t.Errorf("after %s: %v", after, err)
		}
	}
}

// The header has one spelling.
func TestHeaderHasOneSpelling(t *testing.T) {
	good := sign(t, testKey(t, 1), "GET", "http://127.0.0.1:8080/x", nil)
	for name, change := range map[string]func(string) string{
		"none":          func(string) string { return "" },
		"other version": func(s string) string { return strings.Replace(s, "v1 ", "v2 ", 1) },
		"space":         func(s string) string { return strings.Replace(s, ",", ", ", 1) },
		"plus":          func(s string) string { return strings.Replace(s, "ts=", "ts=+", 1) },
		"zero in front": func(s string) string { return strings.Replace(s, "ts=", "ts=0", 1) },
		"no padding":    func(s string) string { return strings.TrimRight(s, "=") },
		"more":          func(s string) string { return s + ",x=1" },
		"prefix of key": func(s string) string { return strings.Replace(s, "key=", "key=ed25519:", 1) },
		"DID":           func(s string) string { return strings.Replace(s, "amid=", "amid=did:agentmesh:", 1) },
		"other AMID": func(s string) string {
			return strings.Replace(s, testKey(t, 1).AMID().String(), testKey(t, 2).AMID().String(), 1)
		},
		"too long":       func(s string) string { return s + strings.Repeat("=", maxHeader) },
		"line break":     func(s string) string { return strings.Replace(s, "nonce=", "nonce=\n", 1) },
		"negative":       func(s string) string { return strings.Replace(s, "ts=", "ts=-", 1) },
		"far away":       func(s string) string { return strings.Replace(s, "ts=", "ts=9", 1) },
		"beyond numbers": func(s string) string { return strings.Replace(s, "ts=", "ts=99999999999999", 1) },
	} {
		r := good
		r.header = change(good.header)
		if _, err := r.verify(nil, noon); !refused(err) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// The bytes under the signature (registry.md §2).
func TestSignedBytes(t *testing.T) {
	s := seal{host: "a:1", method: "POST", target: "/x?y", body: sha256.Sum256([]byte("b")), at: 1769947200}
	for i := range s.nonce {
		s.nonce[i] = byte(i)
	}
	got, err := s.bytes()
	want := "03613a31" + "04504f5354" + "00042f783f79" +
		"3e23e8160039594a33894f6564e1b1348bbd7a0088d42c4acb73eeaed59c009d" +
		"00000000697f4040" + "000102030405060708090a0b0c0d0e0f"
	if err != nil || hex.EncodeToString(got) != want {
		t.Errorf("%x %v", got, err)
	}
}

// What the two SDKs and our own client sign, and what they do not.
func TestTimestampSignatures(t *testing.T) {
	key := testKey(t, 1)
	const js, rust = "2026-02-01T12:00:00.123Z", "2026-02-01T12:00:00.123+00:00"
	text := func(signed string) string { return EncodeBase64(key.SignTimestamp(signed)) }
	for name, c := range map[string]struct {
		stamp, signature string
		now              time.Time
		want             string
	}{
		"raw":             {js, text(js), noon, ""},
		"re-rendered":     {js, text(rust), noon, ""},
		"URL-safe":        {js, strings.NewReplacer("+", "-", "/", "_", "=", "").Replace(text(js)), noon, ""},
		"another moment":  {js, text("2026-02-01T12:00:00.124Z"), noon, reasonSignature},
		"another's":       {js, EncodeBase64(testKey(t, 2).SignTimestamp(js)), noon, reasonSignature},
		"oldest":          {rust, text(rust), noon.Add(MaxAge + 123*time.Millisecond), ""},
		"too old":         {rust, text(rust), noon.Add(MaxAge + 124*time.Millisecond), reasonOld},
		"in future":       {rust, text(rust), noon.Add(-MaxAhead), reasonFuture},
		"no timestamp":    {"noon", text("noon"), noon, reasonTimestamp},
		"no base64":       {js, "!", noon, reasonFormat},
		"empty":           {js, "", noon, reasonFormat},
		"too short":       {js, EncodeBase64([]byte("short")), noon, reasonFormat},
		"with line break": {js, text(js)[:10] + "\n" + text(js)[10:], noon, reasonFormat},
	} {
		_, err := VerifyTimestamp(key.Public(), c.stamp, c.signature, c.now)
		if c.want == "" && err != nil || c.want != "" && (!refused(err) || !strings.Contains(err.Error(), c.want)) {
			t.Errorf("%s: %v, want %q", name, err, c.want)
		}
	}
	stamp, signature := SignTimestamp(key, noon)
	if _, err := VerifyTimestamp(key.Public(), stamp, signature, noon); err != nil {
		t.Error(err)
	}
}

func TestKeysInEverySpelling(t *testing.T) {
	key := testKey(t, 1).Public()
	for _, s := range []string{key.Text(), "ed25519:" + key.Text(), "x25519:" + key.Text(), strings.TrimRight(key.Text(), "=")} {
		if got, err := ParseSigningKey(s); err != nil || got != key {
			t.Errorf("%q: %v", s, err)
		}
	}
	for _, s := range []string{"", "ed25519:", "ed25519:x25519:" + key.Text(), key.Text()[:40], strings.Repeat("A", 43) + "="} {
		if _, err := ParseSigningKey(s); err == nil {
			t.Errorf("%q was taken", s)
		}
	}
	if _, err := ParseExchangeKey(strings.Repeat("A", 43) + "="); err == nil {
		t.Error("an exchange key of low order was taken")
	}
	if got := SigningKeyText(key, true); got != "ed25519:"+key.Text() {
		t.Error(got)
	}
	if got := ExchangeKeyText([32]byte(key), true); got != "x25519:"+key.Text() {
		t.Error(got)
	}
}
