package signature_test

import (
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"errors"
	"maps"
	"math/big"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"amesh/gateway/amtp"
	"amesh/gateway/signature"
)

// zone answers for names, and counts.
type zone struct {
	texts map[string][]string
	ttl   time.Duration
	err   error
	asked atomic.Int32
	wait  chan struct{}
}

func (z *zone) TXT(ctx context.Context, name string) ([]string, time.Duration, error) {
	z.asked.Add(1)
	if z.wait != nil {
		<-z.wait
	}
	return z.texts[name], z.ttl, z.err
}

func verifier(t *testing.T, z *zone) *signature.Verifier {
	t.Helper()
	v, err := signature.NewVerifier(signature.Config{Resolver: z})
	if err != nil {
		t.Fatal(err)
	}
	return v
}

// message has everything that a signed one needs, and members that nobody knows.
const message = `{"version":"1.0","message_id":"0192f0c1-7a10-7c3e-9d55-2b8f6f0a1e01","idempotency_key":"6c0a1c52-6c7e-4a54-8d59-51c2b1a7f0aa",` +
	`"timestamp":"2026-11-20T09:00:00Z","sender":"buyer@North.test","recipients":["orders@south.test"],` +
	`"payload":{"z":1.50,"a":"é\u000a<"},"zzz":[1e2],"signature":null}`

func signedMessage(t *testing.T) (string, *zone) {
	t.Helper()
	key, err := signature.Generate("k1")
	if err != nil {
		t.Fatal(err)
	}
	text, err := key.Sign([]byte(message))
	if err != nil {
		t.Fatal(err)
	}
	return string(text), &zone{texts: map[string][]string{"k1._amtpkey.north.test": {key.Record()}}, ttl: time.Hour}
}

func TestSignedMessagesAreVerified(t *testing.T) {
	t.Parallel()
	text, z := signedMessage(t)
	got := verifier(t, z).Verify(t.Context(), []byte(text))
	want := amtp.Verification{Result: amtp.Verified, Method: "signature", Domain: "north.test", KeyID: "k1", Algorithm: "ES256", Policy: "flag"}
	if got != want {
		t.Errorf("got %+v, want %+v", got, want)
	}
	if m, err := amtp.Parse([]byte(text), amtp.Rules{}); err != nil || !m.Signed {
		t.Errorf("got %v, %v", m, err)
	}
}

// The order of members, space, escapes and ways to write a number are not signed.
func TestAnotherSpellingOfTheSameMessageIsVerified(t *testing.T) {
	t.Parallel()
	text, z := signedMessage(t)
	text = strings.NewReplacer(`"payload":{"z":1.50,"a":"é\u000a<"}`, ` "\u0070ayload" : { "a":"\u00e9\n\u003c", "z" : 15e-1 }`, `[1e2]`, `[ 100 ]`).Replace(text)
	if got := verifier(t, z).Verify(t.Context(), []byte(text)); got.Result != amtp.Verified {
		t.Errorf("got %+v", got)
	}
}

func TestTamperedMessagesAreInvalid(t *testing.T) {
	t.Parallel()
	text, z := signedMessage(t)
	value := text[strings.Index(text, `"value":"`)+len(`"value":"`) : len(text)-len(`"}}`)]
	raw, err := base64.RawURLEncoding.DecodeString(value)
	if err != nil || len(raw) != 64 {
		t.Fatal(value, err)
	}
	der := x509.MarshalPKCS1PublicKey(&rsa.PublicKey{N: new(big.Int).SetBytes(raw), E: 3})
	swap := func(old, new string) string {
		if !strings.Contains(text, old) {
			t.Fatalf("%s is not in the message", old)
		}
		return strings.Replace(text, old, new, 1)
	}
	encode := base64.RawURLEncoding.EncodeToString
	for name, c := range map[string]struct{ text, reason string }{
		"other payload":               {swap(`1.50`, `1.51`), signature.ReasonMismatch},
		"other unknown member":        {swap(`[1e2]`, `[1e3]`), signature.ReasonMismatch},
		"one more member":             {swap(`"zzz"`, `"yyy":1,"zzz"`), signature.ReasonMismatch},
		"one less":                    {swap(`,"zzz":[1e2]`, ``), signature.ReasonMismatch},
		"other recipient":             {swap(`orders@south`, `others@south`), signature.ReasonMismatch},
		"other sender of the domain":  {swap(`buyer@North`, `boss@North`), signature.ReasonMismatch},
		"other id":                    {swap(`1e01"`, `1e02"`), signature.ReasonMismatch},
		"other key":                   {swap(`b1a7f0aa`, `b1a7f0ab`), signature.ReasonMismatch},
		"other time":                  {swap(`09:00:00Z`, `09:00:01Z`), signature.ReasonMismatch},
		"other value":                 {swap(value, encode(append([]byte{raw[0] ^ 1}, raw[1:]...))), signature.ReasonMismatch},
		"R and S zero":                {swap(value, encode(make([]byte, 64))), signature.ReasonMismatch},
		"too short":                   {swap(value, encode(raw[:63])), signature.ReasonMismatch},
		"DER":                         {swap(value, encode(der)), signature.ReasonMismatch},
		"no value":                    {swap(value, ``), signature.ReasonMalformed},
		"not base64":                  {swap(value, `?`), signature.ReasonMalformed},
		"huge":                        {swap(value, strings.Repeat("A", 10000)), signature.ReasonMalformed},
		"T70 other algorithm":         {swap(`"ES256"`, `"RS256"`), signature.ReasonAlgorithm},
		"T70 none":                    {swap(`"ES256"`, `"none"`), signature.ReasonAlgorithm},
		"T70 shared secret":           {swap(`"ES256"`, `"HS256"`), signature.ReasonAlgorithm},
		"algorithm a number":          {swap(`"ES256"`, `256`), signature.ReasonMalformed},
		"a fourth member":             {swap(`"keyid"`, `"x":"y","keyid"`), signature.ReasonMalformed},
		"a member missing":            {swap(`"keyid":"k1",`, ``), signature.ReasonMalformed},
		"selector with a dot":         {swap(`"keyid":"k1"`, `"keyid":"k1.evil"`), signature.ReasonSelector},
		"selector in upper case":      {swap(`"keyid":"k1"`, `"keyid":"K1"`), signature.ReasonSelector},
		"selector of another domain":  {swap(`"keyid":"k1"`, `"keyid":"south.test:k1"`), signature.ReasonSelector},
		"selector with a hyphen last": {swap(`"keyid":"k1"`, `"keyid":"k-"`), signature.ReasonSelector},
		"selector too long":           {swap(`"keyid":"k1"`, `"keyid":"`+strings.Repeat("k", 64)+`"`), signature.ReasonSelector},
		"no selector":                 {swap(`"keyid":"k1"`, `"keyid":""`), signature.ReasonSelector},
		"no version":                  {swap(`"version":"1.0",`, ``), signature.ReasonIncomplete},
		"no key":                      {swap(`"idempotency_key":"6c0a1c52-6c7e-4a54-8d59-51c2b1a7f0aa",`, ``), signature.ReasonIncomplete},
		"empty id":                    {swap(`0192f0c1-7a10-7c3e-9d55-2b8f6f0a1e01`, ``), signature.ReasonIncomplete},
		"no time":                     {swap(`"timestamp":"2026-11-20T09:00:00Z",`, ``), signature.ReasonIncomplete},
		"two recipients":              {swap(`["orders@south.test"]`, `["orders@south.test","a@south.test"]`), signature.ReasonIncomplete},
		"no recipients":               {swap(`"recipients":["orders@south.test"],`, ``), signature.ReasonIncomplete},
		"member twice":                {swap(`"zzz"`, `"zzz":2,"zzz"`), signature.ReasonMalformed},
		"member twice inside":         {swap(`"z":1.50`, `"z":1.50,"z":1.50`), signature.ReasonMalformed},
		"signature twice":             {swap(`"zzz"`, `"signature":null,"zzz"`), signature.ReasonMalformed},
		"something after":             {text + `{}`, signature.ReasonMalformed},
		"no sender":                   {swap(`buyer@North.test`, `buyer`), signature.ReasonMalformed},
	} {
		got := verifier(t, z).Verify(t.Context(), []byte(c.text))
		if got.Result != amtp.Invalid || got.Reason != c.reason {
			t.Errorf("%s: got %+v, want %s", name, got, c.reason)
		}
	}
}

func TestDNSIsNotAskedForWhatCannotBeRight(t *testing.T) {
	t.Parallel()
	text, z := signedMessage(t)
	v := verifier(t, z)
	for _, bad := range []string{
		strings.Replace(text, `"k1"`, `"k1.evil"`, 1), strings.Replace(text, `"ES256"`, `"none"`, 1),
		strings.Replace(text, `"version":"1.0",`, ``, 1), message, `{}`,
	} {
		v.Verify(t.Context(), []byte(bad))
	}
	if n := z.asked.Load(); n != 0 {
		t.Errorf("%d lookups", n)
	}
}

func TestUnsigned(t *testing.T) {
	t.Parallel()
	for _, text := range []string{message, strings.Replace(message, `,"signature":null`, ``, 1)} {
		got := verifier(t, &zone{}).Verify(t.Context(), []byte(text))
		if want := (amtp.Verification{Result: amtp.Unsigned, Domain: "north.test", Policy: "flag"}); got != want {
			t.Errorf("got %+v", got)
		}
	}
}

func TestOlderFormsAreVerified(t *testing.T) {
	t.Parallel()
	text, z := signedMessage(t)
	prefixed := strings.Replace(text, `"keyid":"k1"`, `"keyid":"North.test:k1"`, 1)
	value := text[strings.Index(text, `"value":"`)+len(`"value":"`) : len(text)-len(`"}}`)]
	padded := strings.Replace(text, value, strings.NewReplacer("-", "+", "_", "/").Replace(value)+"==", 1)
	for name, text := range map[string]string{"keyid with its domain": prefixed, "standard base64": padded} {
		if got := verifier(t, z).Verify(t.Context(), []byte(text)); got.Result != amtp.Verified || got.KeyID != "k1" {
			t.Errorf("%s: got %+v", name, got)
		}
	}
}

// spki encodes a public key for a record.
func spki(t *testing.T, key any) string {
	t.Helper()
	der, err := x509.MarshalPKIXPublicKey(key)
	if err != nil {
		t.Fatal(err)
	}
	return base64.StdEncoding.EncodeToString(der)
}

// An RS256 record is longer than the 255 bytes of one TXT string.
func TestRS256IsVerified(t *testing.T) {
	t.Parallel()
	private, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	text := strings.Replace(message, `null`, `{"algorithm":"RS256","keyid":"r","value":"VALUE"}`, 1)
	canonical := `{"idempotency_key":"6c0a1c52-6c7e-4a54-8d59-51c2b1a7f0aa","message_id":"0192f0c1-7a10-7c3e-9d55-2b8f6f0a1e01",` +
		`"payload":{"a":"é\n<","z":1.5},"recipients":["orders@south.test"],"sender":"buyer@North.test",` +
		`"timestamp":"2026-11-20T09:00:00Z","version":"1.0","zzz":[100]}`
	digest := sha256.Sum256([]byte(canonical))
	value, err := rsa.SignPKCS1v15(rand.Reader, private, crypto.SHA256, digest[:])
	if err != nil {
		t.Fatal(err)
	}
	text = strings.Replace(text, "VALUE", base64.RawURLEncoding.EncodeToString(value), 1)
	record := "v=amtpkey1;alg=RS256;p=" + spki(t, &private.PublicKey)
	if len(record) <= 255 {
		t.Fatal("the record is short")
	}
	z := &zone{texts: map[string][]string{"r._amtpkey.north.test": {"v=spf1 -all", record}}, ttl: time.Hour}
	if got := verifier(t, z).Verify(t.Context(), []byte(text)); got.Result != amtp.Verified || got.Algorithm != "RS256" {
		t.Errorf("got %+v", got)
	}
	if got := verifier(t, z).Verify(t.Context(), []byte(strings.Replace(text, "orders@", "others@", 1))); got.Reason != signature.ReasonMismatch {
		t.Errorf("tampered: got %+v", got)
	}
}

// T70: what must not be a key is none, whatever the message says.
func TestT70RecordsWithoutAUsableKey(t *testing.T) {
	t.Parallel()
	p256, _ := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	p384, _ := ecdsa.GenerateKey(elliptic.P384(), rand.Reader)
	ed, _, _ := ed25519.GenerateKey(rand.Reader)
	big2048 := new(big.Int).SetBit(big.NewInt(1), 2047, 1)
	good := spki(t, &p256.PublicKey)
	for name, record := range map[string]string{
		"RSA of 1024 bits":        "v=amtpkey1;alg=RS256;p=" + spki(t, &rsa.PublicKey{N: new(big.Int).SetBit(big.NewInt(1), 1023, 1), E: 65537}),
		"RSA of 2047 bits":        "v=amtpkey1;alg=RS256;p=" + spki(t, &rsa.PublicKey{N: new(big.Int).SetBit(big.NewInt(1), 2046, 1), E: 65537}),
		"RSA of 9000 bits":        "v=amtpkey1;alg=RS256;p=" + spki(t, &rsa.PublicKey{N: new(big.Int).SetBit(big.NewInt(1), 8999, 1), E: 65537}),
		"e = 1":                   "v=amtpkey1;alg=RS256;p=" + spki(t, &rsa.PublicKey{N: big2048, E: 1}),
		"e even":                  "v=amtpkey1;alg=RS256;p=" + spki(t, &rsa.PublicKey{N: big2048, E: 4}),
		"n even":                  "v=amtpkey1;alg=RS256;p=" + spki(t, &rsa.PublicKey{N: new(big.Int).SetBit(big.NewInt(0), 2047, 1), E: 3}),
		"ES256 with an RSA key":   "v=amtpkey1;alg=ES256;p=" + spki(t, &rsa.PublicKey{N: big2048, E: 65537}),
		"RS256 with an EC key":    "v=amtpkey1;alg=RS256;p=" + good,
		"ES256 with P-384":        "v=amtpkey1;alg=ES256;p=" + spki(t, &p384.PublicKey),
		"ES256 with Ed25519":      "v=amtpkey1;alg=ES256;p=" + spki(t, ed),
		"RS256 with Ed25519":      "v=amtpkey1;alg=RS256;p=" + spki(t, ed),
		"Ed25519":                 "v=amtpkey1;alg=EdDSA;p=" + spki(t, ed),
		"raw Ed25519":             "v=amtpkey1;alg=ES256;p=" + base64.StdEncoding.EncodeToString(ed),
		"no algorithm":            "v=amtpkey1;p=" + good,
		"no key":                  "v=amtpkey1;alg=ES256",
		"empty key":               "v=amtpkey1;alg=ES256;p=",
		"not base64":              "v=amtpkey1;alg=ES256;p=" + good[:20] + "!" + good[20:],
		"parameter twice":         "v=amtpkey1;alg=ES256;alg=ES256;p=" + good,
		"unknown parameter twice": "v=amtpkey1;x=1;x=1;alg=ES256;p=" + good,
		"other version":           "v=amtpkey2;alg=ES256;p=" + good,
		"v not first":             "alg=ES256;v=amtpkey1;p=" + good,
		"too long":                "v=amtpkey1;alg=ES256;p=" + good + ";x=" + strings.Repeat("x", signature.MaxKeyRecord),
	} {
		if _, err := signature.ParseKeyRecord(record); !errors.Is(err, signature.ErrKeyRecord) {
			t.Errorf("%s: got %v", name, err)
		}
	}
	for name, record := range map[string]string{
		"plain":           "v=amtpkey1;alg=ES256;p=" + good,
		"spaces, unknown": "v = amtpkey1 ; alg = ES256 ; x = y ; zzz ; p = " + good + " ;",
		"base64url":       "v=amtpkey1;alg=ES256;p=" + strings.NewReplacer("+", "-", "/", "_", "=", "").Replace(good),
	} {
		if _, err := signature.ParseKeyRecord(record); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestKeysThatCannotBeHad(t *testing.T) {
	t.Parallel()
	text, z := signedMessage(t)
	const name = "k1._amtpkey.north.test"
	good := z.texts[name][0]
	other, _ := signature.Generate("k1")
	for what, c := range map[string]struct {
		texts  []string
		err    error
		result amtp.Result
		reason string
	}{
		"no record":           {nil, nil, amtp.KeyUnavailable, signature.ReasonNoKey},
		"only other records":  {[]string{"v=spf1 -all"}, nil, amtp.KeyUnavailable, signature.ReasonNoKey},
		"two valid ones":      {[]string{good, other.Record()}, nil, amtp.KeyUnavailable, signature.ReasonKeys},
		"twice the same":      {[]string{good, good}, nil, amtp.KeyUnavailable, signature.ReasonKeys},
		"an invalid one":      {[]string{"v=amtpkey1;alg=ES256"}, nil, amtp.KeyUnavailable, signature.ReasonKeyInvalid},
		"valid and invalid":   {[]string{"v=amtpkey1;alg=ES256", good}, nil, amtp.Verified, ""},
		"DNS is silent":       {nil, errors.New("timeout"), amtp.KeyUnavailable, signature.ReasonLookup},
		"the key of somebody": {[]string{other.Record()}, nil, amtp.Invalid, signature.ReasonMismatch},
	} {
		got := verifier(t, &zone{texts: map[string][]string{name: c.texts}, err: c.err}).Verify(t.Context(), []byte(text))
		if got.Result != c.result || got.Reason != c.reason {
			t.Errorf("%s: got %+v", what, got)
		}
	}
}

func TestOfManyOneAsksAndTheAnswerIsKept(t *testing.T) {
	t.Parallel()
	text, z := signedMessage(t)
	synctest.Test(t, func(t *testing.T) {
		z.wait = make(chan struct{})
		v := verifier(t, z)
		results := make(chan amtp.Result, 10)
		for range cap(results) {
			go func() { results <- v.Verify(t.Context(), []byte(text)).Result }()
		}
		gone, cancel := context.WithCancel(t.Context())
		cancel()
		if got := v.Verify(gone, []byte(text)); got.Result != amtp.KeyUnavailable {
			t.Errorf("one who went away: %+v", got)
		}
		synctest.Wait()
		close(z.wait)
		for range cap(results) {
			if got := <-results; got != amtp.Verified {
				t.Errorf("got %s", got)
			}
		}
		if n := z.asked.Load(); n != 1 {
			t.Errorf("%d lookups", n)
		}
		time.Sleep(signature.DefaultTTL + time.Second)
		v.Verify(t.Context(), []byte(text))
		if n := z.asked.Load(); n != 2 {
			t.Errorf("%d lookups after the key's time", n)
		}
	})
}

func TestAMissingKeyIsAskedForAgainAfter30Seconds(t *testing.T) {
	t.Parallel()
	text, z := signedMessage(t)
	synctest.Test(t, func(t *testing.T) {
		published := z.texts
		z.texts = nil
		v := verifier(t, z)
		for range 3 {
			if got := v.Verify(t.Context(), []byte(text)); got.Reason != signature.ReasonNoKey {
				t.Errorf("got %+v", got)
			}
		}
		z.texts = maps.Clone(published)
		if n := z.asked.Load(); n != 1 {
			t.Errorf("%d lookups", n)
		}
		time.Sleep(signature.NegativeTTL + time.Second)
		if got := v.Verify(t.Context(), []byte(text)); got.Result != amtp.Verified {
			t.Errorf("got %+v", got)
		}
	})
}

func TestPolicies(t *testing.T) {
	t.Parallel()
	for result, want := range map[amtp.Result]struct {
		code   amtp.Code
		status int
	}{
		amtp.Verified:       {},
		amtp.Unsigned:       {amtp.CodeSignatureRequired, 401},
		amtp.Invalid:        {amtp.CodeSignatureInvalid, 403},
		amtp.KeyUnavailable: {amtp.CodeSignatureKeyUnavailable, 503},
	} {
		for _, p := range []signature.Policy{signature.Accept, signature.Flag} {
			if e := p.Refuse(amtp.Verification{Result: result}); e != nil {
				t.Errorf("%s, %s: %v", p, result, e)
			}
		}
		e := signature.Reject.Refuse(amtp.Verification{Result: result, Domain: "a.test"})
		if (e == nil) != (want.code == "") || e != nil && (e.Code != want.code || e.Status != want.status) {
			t.Errorf("reject, %s: %v", result, e)
		}
	}
	if _, err := signature.ParsePolicy("maybe"); err == nil {
		t.Error("maybe is a policy")
	}
}

func TestWhatAReceiverMustRefuseIsNotSigned(t *testing.T) {
	t.Parallel()
	key, _ := signature.Generate("k1")
	for _, text := range []string{
		`[]`, `{}`, strings.Replace(message, `"version":"1.0",`, ``, 1), strings.Replace(message, `"orders@south.test"`, `"a@b","c@b"`, 1),
		strings.Replace(message, `"zzz"`, `"zzz":1,"zzz"`, 1),
	} {
		if _, err := key.Sign([]byte(text)); !errors.Is(err, signature.ErrNotSignable) {
			t.Errorf("%s: got %v", text, err)
		}
	}
}

func TestOutboundCopiesCanBeSigned(t *testing.T) {
	t.Parallel()
	m, err := amtp.Parse([]byte(`{"sender":"a@north.test","recipients":["b@b.test"],"payload":1e5}`), amtp.Rules{})
	if err != nil {
		t.Fatal(err)
	}
	key, _ := signature.Generate("k1")
	out, err := amtp.OutboundOne(m.Document(), "b@b.test")
	if err != nil {
		t.Fatal(err)
	}
	text, err := key.Sign(out)
	if err != nil {
		t.Fatal(err)
	}
	z := &zone{texts: map[string][]string{"k1._amtpkey.north.test": {key.Record()}}}
	if got := verifier(t, z).Verify(t.Context(), text); got.Result != amtp.Verified {
		t.Errorf("got %+v", got)
	}
	var back map[string]any
	if err := json.Unmarshal(text, &back); err != nil || len(back) != 16 {
		t.Errorf("%d members, %v", len(back), err)
	}
}

func FuzzVerify(f *testing.F) {
	f.Add([]byte(message))
	f.Add([]byte(strings.Replace(message, "null", `{"algorithm":"ES256","keyid":"k1","value":"AAAA"}`, 1)))
	key, err := signature.Generate("k1")
	if err != nil {
		f.Fatal(err)
	}
	v, err := signature.NewVerifier(signature.Config{Resolver: &zone{texts: map[string][]string{"k1._amtpkey.north.test": {key.Record()}}}})
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		if got := v.Verify(t.Context(), body); got.Result == amtp.Verified {
			t.Fatalf("%q was never signed", body)
		}
		signed, err := key.Sign(body)
		if err != nil {
			return
		}
		if got := v.Verify(t.Context(), signed); got.Domain == "north.test" && got.Result != amtp.Verified {
			t.Fatalf("%q: %+v", signed, got)
		}
	})
}

func FuzzParseKeyRecord(f *testing.F) {
	key, err := signature.Generate("k1")
	if err != nil {
		f.Fatal(err)
	}
	f.Add(key.Record())
	f.Add("v=amtpkey1;alg=RS256;p=AAAA;x=y")
	f.Fuzz(func(t *testing.T, txt string) {
		if k, err := signature.ParseKeyRecord(txt); err == nil && k.Algorithm != signature.ES256 && k.Algorithm != signature.RS256 {
			t.Fatalf("%q: %+v", txt, k)
		}
	})
}
