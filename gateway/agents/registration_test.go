package agents

import (
	"context"
	"errors"
	"maps"
	"slices"
	"strings"
	"testing"

	"amesh/gateway/amtp"
)

// Checklist 56: names of 64 characters, no dots at the edges.
func TestNames(t *testing.T) {
	for _, c := range []struct {
		name, address, want string
	}{
		{"one letter", "a", "a"},
		{"a digit", "7", "7"},
		{"all characters", "Ann-B_c.7", "Ann-B_c.7"},
		{"of 64", strings.Repeat("a", 64), strings.Repeat("a", 64)},
		{"a full address", "ann@north.test", "ann"},
		{"in other letters", "Ann@NORTH.test", "Ann"},
		{"with a final dot", "ann@north.test.", "ann"},
		{"of 65", strings.Repeat("a", 65), ""},
		{"empty", "", ""},
		{"a domain alone", "@north.test", ""},
		{"a dot at the beginning", ".ann", ""},
		{"a dot at the end", "ann.", ""},
		{"a hyphen at the beginning", "-ann", ""},
		{"an underscore at the end", "ann_", ""},
		{"only a dot", ".", ""},
		{"two dots in a row", "a..b", ""},
		{"a space", "a b", ""},
		{"a slash", "a/b", ""},
		{"a letter that is not ASCII", "änn", ""},
		{"a line", "ann\n", ""},
		{"of another domain", "ann@south.test", ""},
		{"of a domain below", "ann@a.north.test", ""},
		{"of no domain", "ann@", ""},
		{"two addresses", "ann@north.test@north.test", ""},
	} {
		got, err := Name(c.address, "north.test")
		if got != c.want || c.want == "" && !errors.Is(err, ErrInvalid) {
			t.Errorf("%s: %q, %v", c.name, got, err)
		}
	}
}

func TestRegistrationsThatCannotBe(t *testing.T) {
	d := newDirectory(t, &rows{}, nil)
	push := Registration{Address: "ann", Mode: "push", PushTarget: "https://ann.test/in"}
	many := func(n int) map[string]string {
		m := map[string]string{}
		for i := range n {
			m["X-"+strings.Repeat("a", i+1)] = "v"
		}
		return m
	}
	headers := func(m map[string]string) func(*Registration) {
		return func(r *Registration) { r.Headers = m }
	}
	for name, edit := range map[string]func(*Registration){
		"no mode":                     func(r *Registration) { r.Mode = "" },
		"an unknown mode":             func(r *Registration) { r.Mode = "fax" },
		"a mode that is not for them": func(r *Registration) { r.Mode = "remote" },
		"push without a target":       func(r *Registration) { r.PushTarget = "" },
		"pull with a target":          func(r *Registration) { r.Mode = "pull" },
		"a target that is no URL":     func(r *Registration) { r.PushTarget = "not a url" },
		"a target without a host":     func(r *Registration) { r.PushTarget = "https:///in" },
		"a target in the open":        func(r *Registration) { r.PushTarget = "http://ann.test/in" },
		"a target of another kind":    func(r *Registration) { r.PushTarget = "file:///etc/passwd" },
		"a target of gopher":          func(r *Registration) { r.PushTarget = "gopher://ann.test/" },
		"a target with a password":    func(r *Registration) { r.PushTarget = "https://u:p@ann.test/" },
		"a target with a fragment":    func(r *Registration) { r.PushTarget = "https://ann.test/#x" },
		"an endless target":           func(r *Registration) { r.PushTarget = "https://ann.test/" + strings.Repeat("x", MaxTarget) },
		"too many headers":            headers(many(MaxHeaders + 1)),
		"a header with a line":        headers(map[string]string{"X-A": "a\r\nX-B: b"}),
		"a name with a line":          headers(map[string]string{"X-A\r\nX-B": "b"}),
		"a header without a name":     headers(map[string]string{"": "b"}),
		"a name with a space":         headers(map[string]string{"X A": "b"}),
		"a host":                      headers(map[string]string{"Host": "evil.test"}),
		"a length":                    headers(map[string]string{"content-length": "0"}),
		"a coding":                    headers(map[string]string{"Transfer-Encoding": "chunked"}),
		"an upgrade":                  headers(map[string]string{"Upgrade": "h2c"}),
		"a signature of ours":         headers(map[string]string{"X-AMTP-Signature": "v1=0"}),
		"a header twice":              headers(map[string]string{"X-A": "1", "x-a": "2"}),
		"an endless header":           headers(map[string]string{"X-A": strings.Repeat("x", MaxHeaderValue+1)}),
		"a header that is not ASCII":  headers(map[string]string{"X-A": "é"}),
		"a long role":                 func(r *Registration) { r.Role = strings.Repeat("x", MaxRole+1) },
		"a role with a bell":          func(r *Registration) { r.Role = "\a" },
		"a long description":          func(r *Registration) { r.Description = strings.Repeat("x", MaxDescription+1) },
		"too many capabilities":       func(r *Registration) { r.Capabilities = slices.Repeat([]string{"x"}, MaxCapabilities+1) },
		"an empty capability":         func(r *Registration) { r.Capabilities = []string{""} },
		"too many schemas":            func(r *Registration) { r.Schemas = slices.Repeat([]string{"agntcy:a.*"}, MaxSchemas+1) },
	} {
		r := push
		edit(&r)
		if _, _, err := d.Register(t.Context(), r); !errors.Is(err, ErrInvalid) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if d.Count() != 0 {
		t.Error("one of them is there")
	}
	for name, edit := range map[string]func(*Registration){
		"as it is":         func(*Registration) {},
		"on this machine":  func(r *Registration) { r.PushTarget = "http://127.0.0.1:9000/in" },
		"with credentials": headers(map[string]string{"Authorization": "Bearer x", "X-Api-Key": "y"}),
		"with all headers": headers(many(MaxHeaders)),
	} {
		r := push
		r.Address = strings.ReplaceAll(name, " ", "-")
		edit(&r)
		a, _, err := d.Register(t.Context(), r)
		if err != nil || len(a.PushSecret) != 43 || !maps.Equal(a.Headers, r.Headers) {
			t.Errorf("%s: %+v, %v", name, a, err)
		}
	}
	open := newDirectory(t, &rows{}, func(c *Config) { c.PlainTargets = true })
	register(t, open, Registration{Address: "ann", Mode: "push", PushTarget: "http://ann.test/in"})
}

// known is a schema registry.
type known map[string]error

func (k known) Known(_ context.Context, id string) (bool, error) {
	err, ok := k[id]
	return ok, err
}

func TestSupportedSchemas(t *testing.T) {
	away := errors.New("away")
	d := newDirectory(t, &rows{}, func(c *Config) { c.Schemas = known{"agntcy:shop.order.v1": nil, "agntcy:shop.away.v1": away} })
	for id, want := range map[string]error{
		"agntcy:shop.order.v1":    nil,
		"agntcy:shop.*":           nil,
		"agntcy:shop.order.*":     nil,
		"agntcy:shop.or*":         nil,
		"agntcy:foo.bar.v1":       ErrInvalid,
		"agntcy:shop.away.v1":     away,
		"agntcy:*":                ErrInvalid,
		"agntcy:shop*":            ErrInvalid,
		"agntcy:shop.order":       ErrInvalid,
		"agntcy:shop.order.1":     ErrInvalid,
		"agntcy:shop.order.v":     ErrInvalid,
		"agntcy:shop.order.v1x":   ErrInvalid,
		"agntcy:shop.order.v1.v2": ErrInvalid,
		"other:shop.order.v1":     ErrInvalid,
		"":                        ErrInvalid,
		"agntcy:" + strings.Repeat("a", 300) + ".*": ErrInvalid,
	} {
		name := strings.Trim(strings.Map(func(r rune) rune {
			if nameChar(byte(r)) {
				return r
			}
			return '-'
		}, id), "-_.")
		a, _, err := d.Register(t.Context(), Registration{Address: "x" + name[:min(len(name), 40)] + "x", Mode: "pull", Schemas: []string{id}})
		if !errors.Is(err, want) {
			t.Errorf("%.40s: %v, want %v", id, err, want)
		}
		if err == nil && !a.RequiresSchema {
			t.Errorf("%s: not required", id)
		}
	}
}

// Whatever is a name here is one that messages can be addressed to.
func FuzzName(f *testing.F) {
	for _, s := range []string{"ann", "Ann-B_c.7@north.test", "a..b", "ann@south.test", "-", "a@"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		name, err := Name(s, "north.test")
		if err != nil {
			if !errors.Is(err, ErrInvalid) || name != "" {
				t.Errorf("%q: %q, %v", s, name, err)
			}
			return
		}
		a, err := amtp.ParseAddress(name + "@north.test")
		if err != nil || a.Local != name {
			t.Errorf("%q: %v", name, err)
		}
	})
}
