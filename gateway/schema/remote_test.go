package schema

import (
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"encoding/pem"
	"errors"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
)

// registryServer serves a registry as a Remote wants it.
func registryServer(t *testing.T, m *memory) *http.ServeMux {
	t.Helper()
	mux := http.NewServeMux()
	answer := func(w http.ResponseWriter, status int, v any) {
		w.WriteHeader(status)
		if v != nil {
			_ = json.NewEncoder(w).Encode(v)
		}
	}
	named := func(f func(w http.ResponseWriter, r *http.Request, id ID)) http.HandlerFunc {
		return func(w http.ResponseWriter, r *http.Request) {
			if r.Header.Get("Authorization") != "Bearer secret" || r.Header.Get("X-Own") != "yes" {
				answer(w, http.StatusUnauthorized, nil)
				return
			}
			f(w, r, id(t, r.PathValue("id")))
		}
	}
	mux.HandleFunc("GET /r/schemas/{id}", named(func(w http.ResponseWriter, r *http.Request, id ID) {
		s, err := m.Get(r.Context(), id)
		if err != nil {
			answer(w, http.StatusNotFound, nil)
			return
		}
		answer(w, http.StatusOK, s)
	}))
	mux.HandleFunc("GET /r/schemas", func(w http.ResponseWriter, r *http.Request) {
		p, err := ParsePattern(r.URL.Query().Get("pattern"))
		if err != nil {
			answer(w, http.StatusBadRequest, nil)
			return
		}
		ids, _ := m.List(r.Context(), p)
		answer(w, http.StatusOK, map[string]any{"schemas": ids})
	})
	mux.HandleFunc("PUT /r/schemas/{id}", named(func(w http.ResponseWriter, r *http.Request, id ID) {
		var s Schema
		if err := json.NewDecoder(r.Body).Decode(&s); err != nil {
			answer(w, http.StatusBadRequest, nil)
			return
		}
		s.ID = id
		if m.Put(r.Context(), s, r.Header.Get("If-None-Match") != "*") != nil {
			answer(w, http.StatusPreconditionFailed, nil)
			return
		}
		answer(w, http.StatusNoContent, nil)
	}))
	mux.HandleFunc("DELETE /r/schemas/{id}", named(func(w http.ResponseWriter, r *http.Request, id ID) {
		if m.Remove(r.Context(), id) != nil {
			answer(w, http.StatusNotFound, nil)
			return
		}
		answer(w, http.StatusNoContent, nil)
	}))
	return mux
}

func newRemote(t *testing.T, h http.Handler, change func(*RemoteConfig)) *Remote {
	t.Helper()
	server := httptest.NewServer(h)
	t.Cleanup(server.Close)
	cfg := RemoteConfig{URL: server.URL + "/r/", Token: "secret", Headers: map[string]string{"X-Own": "yes"}, AllowUnsigned: true}
	if change != nil {
		change(&cfg)
	}
	r, err := NewRemote(cfg)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func TestRemoteIsARegistry(t *testing.T) {
	t.Parallel()
	testRegistry(t, newRemote(t, registryServer(t, newMemory(t, nil)), nil))
}

// What a server answers, and what is made of it.
func TestRemoteAnswers(t *testing.T) {
	t.Parallel()
	one := schemaOf(t, messageV1, `true`)
	for name, c := range map[string]struct {
		status         int
		body           string
		get, put, gone error
	}{
		"no such thing":  {404, ``, ErrNotFound, ErrReadOnly, ErrNotFound},
		"no token":       {401, ``, ErrUnavailable, ErrReadOnly, ErrReadOnly},
		"not our place":  {403, ``, ErrUnavailable, ErrReadOnly, ErrReadOnly},
		"not offered":    {405, ``, ErrUnavailable, ErrReadOnly, ErrReadOnly},
		"refused":        {422, `{"error":"no good"}`, ErrUnavailable, ErrRefused, ErrRefused},
		"broken":         {500, ``, ErrUnavailable, ErrUnavailable, ErrUnavailable},
		"elsewhere":      {302, ``, ErrUnavailable, ErrUnavailable, ErrUnavailable},
		"not JSON":       {200, `<html>`, ErrDamaged, nil, nil},
		"another schema": {200, `{"id":"agntcy:a.b.v1","definition":true}`, ErrDamaged, nil, nil},
		"no definition":  {200, `{"id":"agntcy:test.message.v1"}`, ErrDamaged, nil, nil},
		"too long":       {200, `{"id":"agntcy:test.message.v1","definition":"` + strings.Repeat("x", maxAnswer) + `"}`, ErrUnavailable, ErrUnavailable, ErrUnavailable},
		"plain":          {200, `{"id":{"domain":"test","entity":"message","version":"v1","raw":"agntcy:test.message.v1"},"definition":true}`, nil, nil, nil},
		"of a gateway":   {200, `{"schema":{"id":"agntcy:test.message.v1","definition":true},"timestamp":"2026-11-20T09:20:11Z"}`, nil, nil, nil},
	} {
		r := newRemote(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Location", "http://127.0.0.1:1/")
			w.WriteHeader(c.status)
			_, _ = w.Write([]byte(c.body))
		}), nil)
		if _, err := r.Get(t.Context(), one.ID); !errors.Is(err, c.get) || (err == nil) != (c.get == nil) {
			t.Errorf("%s: get: %v, want %v", name, err, c.get)
		}
		if err := r.Put(t.Context(), one, true); !errors.Is(err, c.put) || (err == nil) != (c.put == nil) {
			t.Errorf("%s: put: %v, want %v", name, err, c.put)
		}
		if err := r.Remove(t.Context(), one.ID); !errors.Is(err, c.gone) || (err == nil) != (c.gone == nil) {
			t.Errorf("%s: remove: %v, want %v", name, err, c.gone)
		}
	}
}

func TestRemoteAsksAgain(t *testing.T) {
	t.Parallel()
	var asked atomic.Int32
	r := newRemote(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch asked.Add(1) {
		case 1:
			w.WriteHeader(http.StatusServiceUnavailable)
		case 2:
			panic(http.ErrAbortHandler)
		default:
			_, _ = w.Write([]byte(`{"id":"agntcy:test.message.v1","definition":true}`))
		}
	}), func(c *RemoteConfig) { c.Retries = 2 })
	if _, err := r.Get(t.Context(), id(t, messageV1)); err != nil || asked.Load() != 3 {
		t.Errorf("%v after %d requests", err, asked.Load())
	}
	// What may have been done is not done again.
	asked.Store(0)
	if err := r.Put(t.Context(), schemaOf(t, messageV1, `true`), true); !errors.Is(err, ErrUnavailable) || asked.Load() != 1 {
		t.Errorf("%v after %d requests", err, asked.Load())
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := r.Get(ctx, id(t, messageV1)); !errors.Is(err, ErrUnavailable) {
		t.Errorf("nobody waits: %v", err)
	}
}

// A registry that has an opinion is asked for it.
func TestRemoteJudges(t *testing.T) {
	t.Parallel()
	m := newMemory(t, map[string]string{messageV1: `true`, messageV2: `true`})
	mux := registryServer(t, m)
	mux.HandleFunc("POST /r/schemas/validate", func(w http.ResponseWriter, r *http.Request) {
		var s Schema
		if json.NewDecoder(r.Body).Decode(&s) != nil || strings.Contains(string(s.Definition), "bad") {
			w.WriteHeader(http.StatusBadRequest)
			_, _ = w.Write([]byte(`{"error":"we do not like it"}`))
		}
	})
	mux.HandleFunc("POST /r/schemas/compatibility", func(w http.ResponseWriter, r *http.Request) {
		_, _ = w.Write([]byte(`{"compatible":false,"reason":"because"}`))
	})
	s := newService(t, Config{Registry: newRemote(t, mux, nil)})
	if _, err := s.Register(t.Context(), schemaOf(t, messageV3, `{"title":"bad"}`), false); !errors.Is(err, ErrRefused) || !strings.Contains(err.Error(), "we do not like it") {
		t.Error(err)
	}
	if _, err := s.Register(t.Context(), schemaOf(t, messageV3, `{"title":"good"}`), false); err != nil {
		t.Error(err)
	}
	diff, err := s.Compare(t.Context(), id(t, messageV1), id(t, messageV2))
	if err != nil || diff.Allows(ModeBackward, false) || !strings.Contains(diff.Changes[0].Message, "because") {
		t.Errorf("%+v, %v", diff, err)
	}
	// One that has none is not in the way.
	plain := newService(t, Config{Registry: newRemote(t, registryServer(t, m), nil)})
	if _, err := plain.Register(t.Context(), schemaOf(t, messageV9, `{"title":"bad"}`), false); err != nil {
		t.Error(err)
	}
	if diff, err := plain.Compare(t.Context(), id(t, messageV1), id(t, messageV2)); err != nil || len(diff.Changes) != 0 {
		t.Errorf("%+v, %v", diff, err)
	}
}

func signers(t testing.TB) map[string]crypto.Signer {
	t.Helper()
	p256, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	_, ed, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	rsaKey, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	return map[string]crypto.Signer{"ECDSA": p256, "Ed25519": ed, "RSA": rsaKey}
}

// Promise 23: a fetched schema that no configured key has signed is not used.
func TestFetchedSchemasMustBeSigned(t *testing.T) {
	t.Parallel()
	keys := signers(t)
	stranger, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	definition := `{"type":"string","maxLength":5}`
	sign := func(key crypto.Signer, name, definition string) string {
		t.Helper()
		sig, err := Sign(key, id(t, name), []byte(definition))
		if err != nil {
			t.Fatal(err)
		}
		return sig
	}
	good := sign(keys["ECDSA"], messageV1, definition)
	trusted := []crypto.PublicKey{keys["ECDSA"].Public(), keys["Ed25519"].Public(), keys["RSA"].Public()}
	for name, c := range map[string]struct {
		definition, signature string
		keys                  []crypto.PublicKey
		unsigned, want        bool
	}{
		"signed":                     {definition, good, trusted, false, true},
		"with Ed25519":               {definition, sign(keys["Ed25519"], messageV1, definition), trusted, false, true},
		"with RSA":                   {definition, sign(keys["RSA"], messageV1, definition), trusted, false, true},
		"written in another way":     {"{ \"maxLength\" : 5.0,\n\"type\":\"string\"}", good, trusted, false, true},
		"unsigned":                   {definition, "", trusted, false, false},
		"unsigned, allowed":          {definition, "", trusted, true, true},
		"unsigned, no keys":          {definition, "", nil, true, true},
		"changed":                    {`{"type":"string","maxLength":6}`, good, trusted, false, false},
		"changed, unsigned allowed":  {`{"type":"string","maxLength":6}`, good, trusted, true, false},
		"of another name":            {definition, sign(keys["ECDSA"], messageV2, definition), trusted, false, false},
		"by a stranger":              {definition, sign(stranger, messageV1, definition), trusted, false, false},
		"by a key no longer trusted": {definition, good, trusted[1:], false, false},
		"no base64url":               {definition, good + "=", trusted, false, false},
		"cut":                        {definition, good[:len(good)-2], trusted, false, false},
		"a member twice":             {`{"type":"string","maxLength":9,"maxLength":5}`, good, trusted, false, false},
	} {
		m := newMemory(t, nil)
		m.schemas[id(t, messageV1)] = Schema{ID: id(t, messageV1), Definition: []byte(c.definition), Signature: c.signature}
		s := newService(t, Config{Registry: newRemote(t, registryServer(t, m), func(cfg *RemoteConfig) {
			cfg.Keys, cfg.AllowUnsigned = c.keys, c.unsigned
		})})
		report, err := s.Check(t.Context(), Request{Schema: messageV1, Payload: []byte(`"abc"`), Recipients: []Recipient{{}, {Remote: true}}})
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		if d := report.Decisions[0]; d.Accept != c.want || !c.want && d.Code != CodePipelineFailed {
			t.Errorf("%s: %+v", name, d)
		}
		if !report.Decisions[1].Accept {
			t.Errorf("%s: outbound mail is refused: %+v", name, report.Decisions[1])
		}
	}
}

// The example of docs/protocol/amtp-schemas.md §8.
func TestSignatureOfTheDocument(t *testing.T) {
	t.Parallel()
	seed, err := hex.DecodeString("9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60")
	if err != nil {
		t.Fatal(err)
	}
	key := ed25519.NewKeyFromSeed(seed)
	document, err := os.ReadFile("../../docs/protocol/amtp-schemas.md")
	if err != nil {
		t.Fatal(err)
	}
	definition := `{ "type": "object", "required": ["sku"], "properties": {"qty": {"minimum": 1.0}} }`
	form, err := signedForm(id(t, "agntcy:commerce.order.v1"), []byte(definition))
	if err != nil {
		t.Fatal(err)
	}
	sig, err := Sign(key, id(t, "agntcy:commerce.order.v1"), []byte(definition))
	if err != nil {
		t.Fatal(err)
	}
	for _, text := range []string{definition, string(form), sig, base64.StdEncoding.EncodeToString(key.Public().(ed25519.PublicKey))} {
		if !strings.Contains(string(document), text) {
			t.Errorf("the document does not have %s", text)
		}
	}
}

// What could not be read again is not published.
func TestUnsignedSchemasAreNotPublished(t *testing.T) {
	t.Parallel()
	key := signers(t)["Ed25519"]
	m := newMemory(t, nil)
	s := newService(t, Config{Registry: newRemote(t, registryServer(t, m), func(c *RemoteConfig) {
		c.Keys, c.AllowUnsigned = []crypto.PublicKey{key.Public()}, false
	})})
	one := schemaOf(t, messageV1, `{"type":"string"}`)
	if _, err := s.Register(t.Context(), one, false); !errors.Is(err, ErrUntrusted) || len(m.schemas) != 0 {
		t.Errorf("unsigned: %v", err)
	}
	var err error
	if one.Signature, err = Sign(key, one.ID, one.Definition); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Register(t.Context(), one, false); err != nil {
		t.Errorf("signed: %v", err)
	}
	if got, err := s.Get(t.Context(), one.ID); err != nil || got.Signature != one.Signature {
		t.Errorf("%+v, %v", got, err)
	}
}

// Two numbers that a double cannot tell apart would have one signature.
func TestNumbersThatCannotBeSigned(t *testing.T) {
	t.Parallel()
	key := signers(t)["Ed25519"]
	for definition, want := range map[string]bool{
		`{"maximum":9007199254740993}`: false, `{"maximum":9007199254740992}`: true, `{"multipleOf":0.1}`: true,
		`{"minimum":0.1000000000000000055}`: false, `{"minimum":1e22}`: true, `{"minimum":1e999}`: false,
	} {
		if _, err := Sign(key, id(t, messageV1), []byte(definition)); (err == nil) != want {
			t.Errorf("%s: %v", definition, err)
		}
	}
}

func TestKeys(t *testing.T) {
	t.Parallel()
	var text []byte
	block := func(key crypto.PublicKey) []byte {
		der, err := x509.MarshalPKIXPublicKey(key)
		if err != nil {
			t.Fatal(err)
		}
		return pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der})
	}
	for _, key := range signers(t) {
		text = append(text, block(key.Public())...)
	}
	if keys, err := ParseKeys(text); err != nil || len(keys) != 3 {
		t.Errorf("%d keys, %v", len(keys), err)
	}
	p384, err := ecdsa.GenerateKey(elliptic.P384(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	for name, text := range map[string][]byte{
		"nothing": nil, "no PEM": []byte("key"), "another curve": block(p384.Public()),
		"a private key": pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: []byte("x")}),
		"no key":        pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: []byte("x")}),
		"too many":      []byte(strings.Repeat(string(block(signers(t)["Ed25519"].Public())), maxKeys+1)),
	} {
		if _, err := ParseKeys(text); err == nil {
			t.Errorf("%s: taken", name)
		}
	}
	if _, err := Sign(p384, id(t, messageV1), []byte(`true`)); err == nil {
		t.Error("signed with a key that nobody can verify")
	}
}

func TestRemoteConfig(t *testing.T) {
	t.Parallel()
	for name, cfg := range map[string]RemoteConfig{
		"no URL": {AllowUnsigned: true}, "no host": {URL: "https:///x", AllowUnsigned: true}, "a file": {URL: "file:///etc/passwd", AllowUnsigned: true},
		"a password": {URL: "https://a:b@x.test/", AllowUnsigned: true}, "a query": {URL: "https://x.test/?a=b", AllowUnsigned: true},
		"neither keys nor leave": {URL: "https://x.test/"},
		"an odd key":             {URL: "https://x.test/", Keys: []crypto.PublicKey{"key"}},
	} {
		if _, err := NewRemote(cfg); err == nil {
			t.Errorf("%s: taken", name)
		}
	}
}

func TestRemoteOverTLS(t *testing.T) {
	t.Parallel()
	m := newMemory(t, map[string]string{messageV1: `true`})
	server := httptest.NewUnstartedServer(registryServer(t, m))
	server.Config.ErrorLog = log.New(io.Discard, "", 0)
	server.StartTLS()
	defer server.Close()
	ca := filepath.Join(t.TempDir(), "ca.pem")
	writeText(t, ca, string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: server.Certificate().Raw})))
	for files, want := range map[TLSFiles]error{{}: ErrUnavailable, {CA: ca}: nil, {Insecure: true}: nil} {
		config, err := files.Config()
		if err != nil {
			t.Fatal(err)
		}
		r, err := NewRemote(RemoteConfig{URL: server.URL + "/r", Token: "secret", Headers: map[string]string{"X-Own": "yes"}, TLS: config, AllowUnsigned: true})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := r.Get(t.Context(), id(t, messageV1)); !errors.Is(err, want) || (err == nil) != (want == nil) {
			t.Errorf("%+v: %v, want %v", files, err, want)
		}
	}
	for _, files := range []TLSFiles{{CA: "/nowhere"}, {Cert: ca, Key: ca}, {CA: os.DevNull}} {
		if _, err := files.Config(); err == nil {
			t.Errorf("%+v: taken", files)
		}
	}
}

// Strangers name the schemas in messages; however many they name, the registry
// is asked for its list once.
func TestUnknownNamesDoNotFloodTheRegistry(t *testing.T) {
	t.Parallel()
	var lists atomic.Int32
	m := newMemory(t, nil)
	mux := registryServer(t, m)
	counted := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/r/schemas" {
			lists.Add(1)
		}
		mux.ServeHTTP(w, r)
	})
	s := newService(t, Config{Registry: newRemote(t, counted, nil), Fresh: 1 << 40, Negotiation: Negotiation{Enabled: true}})
	var wg sync.WaitGroup
	for i := range 20 {
		wg.Go(func() {
			name := ID{Domain: "x", Entity: "y" + strings.Repeat("z", i), Version: 1}.String()
			if r, err := s.Check(t.Context(), Request{Schema: name, Recipients: []Recipient{{}}}); err != nil || r.Decisions[0].Accept {
				t.Errorf("%+v, %v", r, err)
			}
		})
	}
	wg.Wait()
	if n := lists.Load(); n != 1 {
		t.Errorf("%d lists", n)
	}
}
