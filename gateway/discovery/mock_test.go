package discovery

import (
	"bytes"
	"errors"
	"log/slog"
	"strings"
	"testing"
)

func TestMockModeAsksNobody(t *testing.T) {
	t.Parallel()
	var log bytes.Buffer
	z := newZone(txt("real.test", 60, good))
	r := z.resolver(t, Config{
		Mock: true, AllowHTTP: true, Logger: slog.New(slog.NewTextHandler(&log, nil)),
		MockRecords: map[string]string{
			"A.test":             "v=amtp1;gateway=http://127.0.0.1:9001;max-size=77",
			"bare.test":          "http://bare.test:8080",
			"k1._amtpkey.a.test": "v=amtpkey1;alg=ES256;p=AAAA",
			"wrong.test":         "v=spf1",
		},
	})
	a, err := r.Lookup(t.Context(), "a.test")
	if err != nil || a.Gateway != "http://127.0.0.1:9001" || !a.Mock || a.MaxSize != 77 {
		t.Errorf("%+v, %v", a, err)
	}
	if bare, err := r.Lookup(t.Context(), "bare.test"); err != nil || bare.Gateway != "http://bare.test:8080" {
		t.Errorf("%+v, %v", bare, err)
	}
	if !strings.Contains(log.String(), "bare URL") || !strings.Contains(log.String(), "wrong.test") {
		t.Errorf("log: %s", log.String())
	}
	if texts, _, err := r.TXT(t.Context(), "k1._amtpkey.a.test"); err != nil || texts[0] != "v=amtpkey1;alg=ES256;p=AAAA" {
		t.Errorf("%q, %v", texts, err)
	}
	if _, err := r.Lookup(t.Context(), "real.test"); !errors.Is(err, ErrNoRecord) || z.count() != 0 {
		t.Errorf("%v, asked %d times", err, z.count())
	}
}

func TestMockModeKnowsItsDefaults(t *testing.T) {
	t.Parallel()
	r := newZone().resolver(t, Config{Mock: true, AllowHTTP: true})
	for _, domain := range []string{"localhost", "test.local", "dev.local", "example.com"} {
		if c, err := r.Lookup(t.Context(), domain); err != nil || c.Gateway != "http://localhost:8080" {
			t.Errorf("%s: %+v, %v", domain, c, err)
		}
	}
}
