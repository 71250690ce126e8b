package natbox

import (
	"math"
	"net/netip"
	"strings"
	"testing"
	"time"
)

func TestForward(t *testing.T) {
	for text, want := range map[string]Forward{
		"10.0.0.2":             {netip.MustParseAddr("10.0.0.2"), 1024, 65535},
		"10.0.0.2=40000-40999": {netip.MustParseAddr("10.0.0.2"), 40000, 40999},
		"10.0.0.2=7-7":         {netip.MustParseAddr("10.0.0.2"), 7, 7},
	} {
		if got, err := ParseForward(text); err != nil || got != want {
			t.Errorf("%s: got %v, %v; want %v", text, got, err, want)
		}
	}
	for _, text := range []string{"", "host", "::1", "10.0.0.2=", "10.0.0.2=5", "10.0.0.2=9-8", "10.0.0.2=0-8", "10.0.0.2=1-65536", "10.0.0.2=1-2-3"} {
		if got, err := ParseForward(text); err == nil {
			t.Errorf("%q was taken for %v", text, got)
		}
	}
}

func TestConfigThatNoBoxCanBe(t *testing.T) {
	good := Config{Kind: PortRestricted, Inside: "a", Outside: "b"}
	forward := func(texts ...string) (all []Forward) {
		for _, text := range texts {
			f, err := ParseForward(text)
			if err != nil {
				t.Fatal(err)
			}
			all = append(all, f)
		}
		return all
	}
	for name, c := range map[string]struct {
		change func(*Config)
		want   string // empty: is good
	}{
		"good":                     {func(*Config) {}, ""},
		"unknown kind":             {func(c *Config) { c.Kind = "cone" }, "port-restricted, symmetric"},
		"one interface":            {func(c *Config) { c.Outside = "a" }, "two interfaces"},
		"no interface":             {func(c *Config) { c.Inside = "" }, "two interfaces"},
		"cone without hosts":       {func(c *Config) { c.Kind = FullCone }, "inside hosts"},
		"cone":                     {func(c *Config) { c.Kind, c.Forwards = FullCone, forward("10.0.0.2") }, ""},
		"two hosts, ports apart":   {func(c *Config) { c.Kind, c.Forwards = FullCone, forward("10.0.0.2=1-9", "10.0.0.3=10-19") }, ""},
		"two hosts, the same port": {func(c *Config) { c.Kind, c.Forwards = FullCone, forward("10.0.0.2=1-9", "10.0.0.3=9-19") }, "in common"},
		"forward without a cone":   {func(c *Config) { c.Forwards = forward("10.0.0.2") }, "only a full cone"},
		"login without a proxy":    {func(c *Config) { c.ProxyLogin = "a:b" }, "belongs to a proxy"},
		"login without a password": {func(c *Config) { c.Kind, c.ProxyLogin = HTTPProxy, "a" }, "USER:PASSWORD"},
		"proxy with a login":       {func(c *Config) { c.Kind, c.ProxyLogin = HTTPProxy, "a:b" }, ""},
		"long control path":        {func(c *Config) { c.Control = strings.Repeat("x", 101) }, "101 bytes"},
		"negative loss":            {func(c *Config) { c.Faults.Loss = -1 }, "0 to 100"},
		"more than all":            {func(c *Config) { c.Faults.Loss = 100.1 }, "0 to 100"},
		"no number":                {func(c *Config) { c.Faults.Loss = math.NaN() }, "0 to 100"},
		"a minute's delay":         {func(c *Config) { c.Faults.Delay = time.Minute }, "want 0s to 10s"},
	} {
		cfg := good
		c.change(&cfg)
		_, err := New(cfg)
		if c.want == "" && err != nil {
			t.Errorf("%s: %v", name, err)
		}
		if c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want)) {
			t.Errorf("%s: %v, want %q", name, err, c.want)
		}
	}
}

func TestFaultsInWords(t *testing.T) {
	for want, f := range map[string]Faults{
		"no faults":                 {},
		"loses 2.5 %":               {Loss: 2.5},
		"loses 1 %, delays by 50ms": {Loss: 1, Delay: 50 * time.Millisecond},
		"partitioned":               {Loss: 1, Partition: true},
		"delays by 1.5s":            {Delay: 1500 * time.Millisecond},
	} {
		if got := f.String(); got != want {
			t.Errorf("%+v: %q, want %q", f, got, want)
		}
	}
}
