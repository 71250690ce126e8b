package config

import (
	"errors"
	"net/url"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"
)

// Whatever stands in a file, it is a configuration or an error of ours.
func FuzzLoad(f *testing.F) {
	f.Add("server: {address: ':1', domain: a.example}\ndns: {mock_records: {a: b}}", "30s")
	f.Add("schema: [1, 2]\nversion: 1.0", "true")
	f.Add("server: &a {domain: *a}", `{"a":"b"}`)
	f.Fuzz(func(t *testing.T, file, value string) {
		c, _, err := Load(Sources{File: []byte(file), FileName: "f", Getenv: func(string) string { return value }})
		if err != nil && !errors.Is(err, ErrConfig) {
			t.Errorf("another error: %v", err)
		}
		if err == nil && (c.Server.Domain == "" || c.Message.MaxSize <= 0 || c.Server.ReadTimeout <= 0) {
			t.Errorf("taken: %+v", c)
		}
	})
}

// What DatabaseURL makes is a URL that the driver reads as it reads the string itself.
func FuzzDatabaseURL(f *testing.F) {
	f.Add("host=db port=5432 user=u password='p w' dbname=x sslmode=disable")
	f.Add(`host='/run/x' user=o\'neil dbname='a b'`)
	f.Fuzz(func(t *testing.T, text string) {
		got, err := DatabaseURL("pgx", text)
		if err != nil || strings.Contains(text, "://") {
			return
		}
		if _, err := url.Parse(got); err != nil {
			t.Fatalf("%q: %v", got, err)
		}
		want, err := pgx.ParseConfig(text)
		if err != nil {
			return // not a string that agentry could have used
		}
		have, err := pgx.ParseConfig(got)
		if err != nil {
			t.Fatalf("%q becomes %q: %v", text, got, err)
		}
		if have.Host != want.Host || have.User != want.User || have.Password != want.Password || have.Database != want.Database || have.Port != want.Port {
			t.Errorf("%q becomes %q: %q %q %q %q %d, and not %q %q %q %q %d", text, got, have.Host, have.User, have.Password, have.Database, have.Port, want.Host, want.User, want.Password, want.Database, want.Port)
		}
	})
}
