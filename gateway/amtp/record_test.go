package amtp_test

import (
	"errors"
	"reflect"
	"strings"
	"testing"

	"amesh/gateway/amtp"
)

func TestRecords(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name, txt string
		want      amtp.Record
	}{
		{"B001 shortest", "v=amtp1;gateway=https://g", amtp.Record{Gateway: "https://g"}},
		{"B002 quotes and spaces", ` " v = amtp1 ; gateway = https://g " `, amtp.Record{Gateway: "https://g"}},
		{"B002 a value in quotes", `v=amtp1;gateway="https://g"`, amtp.Record{Gateway: "https://g"}},
		{"slash at the end", "v=amtp1;gateway=https://g/", amtp.Record{Gateway: "https://g"}},
		{"B004 max-size no number", "v=amtp1;gateway=https://g;max-size=abc;auth=cert", amtp.Record{Gateway: "https://g", Auth: []string{"cert"}}},
		{"B005 unknown keys", "v=amtp1;x=y;zzz;gateway=https://g;;", amtp.Record{Gateway: "https://g"}},
		{"all of it", "v=amtp1;gateway=https://g:8443/a;auth=cert, oauth,;max-size=5;features=agent-discovery;schemas=a.b",
			amtp.Record{Gateway: "https://g:8443/a", Auth: []string{"cert", "oauth"}, MaxSize: 5, Features: []string{"agent-discovery"}, Schemas: []string{"a.b"}}},
	} {
		c.want.Version = "1.0"
		got, err := amtp.ParseRecord(c.txt)
		if err != nil || !reflect.DeepEqual(got, c.want) {
			t.Errorf("%s: got %+v, %v", c.name, got, err)
			continue
		}
		if back, err := amtp.ParseRecord(got.String()); err != nil || !reflect.DeepEqual(back, got) {
			t.Errorf("%s: published as %s", c.name, got)
		}
	}
	for name, txt := range map[string]string{
		"B003 no gateway":    "v=amtp1;max-size=5",
		"B003 other version": "v=amtp2;gateway=https://g",
		"B003 v not first":   "gateway=https://g;v=amtp1",
		"longer version":     "v=amtp10;gateway=https://g",
		"two gateways":       "v=amtp1;gateway=https://g;gateway=https://h",
		"nothing":            "",
		"SPF":                "v=spf1 -all",
		"too long":           "v=amtp1;gateway=https://g;x=" + strings.Repeat("x", amtp.MaxRecord),
	} {
		if got, err := amtp.ParseRecord(txt); !errors.Is(err, amtp.ErrRecord) {
			t.Errorf("%s: got %+v, %v", name, got, err)
		}
	}
}

func TestSizeLimitHoldsWhereTheRecordIsSilent(t *testing.T) {
	t.Parallel()
	if got := (amtp.Record{}).SizeLimit(); got != amtp.MaxMessageSize {
		t.Errorf("got %d", got)
	}
	if got := (amtp.Record{MaxSize: 5}).SizeLimit(); got != 5 {
		t.Errorf("got %d", got)
	}
}

func TestGatewayURLs(t *testing.T) {
	t.Parallel()
	for url, http := range map[string]bool{
		"https://g": false, "https://g.test:8443/path": false, "http://127.0.0.1:8080": true, "http://localhost:8080": true,
	} {
		if err := amtp.CheckGateway(url, true); err != nil {
			t.Errorf("%s: %v", url, err)
		}
		if err := amtp.CheckGateway(url, false); (err != nil) != http {
			t.Errorf("%s without http: %v", url, err)
		}
	}
	for _, url := range []string{
		"", "g", "ftp://g", "https://", "https://u@g", "https://u:p@g", "https://[::1]", "https://[::1]:5", "https://g?x", "https://g?", "https://g#x", "https://g#",
		"https://g_h", "https://g:", "https://g:0", "https://g:65536", "https://g:x", "https://bücher.example", "https://a b", "https://g\n", "//g", "https:g",
	} {
		err := amtp.CheckGateway(url, true)
		if e := (*amtp.Error)(nil); !errors.As(err, &e) || e.Code != amtp.CodeInvalidGateway {
			t.Errorf("%q: got %v", url, err)
		}
	}
}

func FuzzParseRecord(f *testing.F) {
	f.Add(` "v = amtp1 ; gateway = https://g; auth=a,b;max-size=7" `)
	f.Add("v=amtp1;gateway=\"https://g;\"")
	f.Fuzz(func(t *testing.T, txt string) {
		r, err := amtp.ParseRecord(txt)
		if err != nil || amtp.CheckGateway(r.Gateway, true) != nil {
			return
		}
		back, err := amtp.ParseRecord(r.String())
		if len(r.String()) <= amtp.MaxRecord && (err != nil || back.Gateway != r.Gateway || back.MaxSize != r.MaxSize) {
			t.Fatalf("%q: published as %q: %+v, %v", txt, r, back, err)
		}
	})
}
