package dialled

import (
	"net"
	"testing"
)

func tcpAddr(t *testing.T, s string) net.Addr {
	t.Helper()
	a, err := net.ResolveTCPAddr("tcp", s)
	if err != nil {
		t.Fatal(err)
	}
	return a
}

func TestNamesOfAServer(t *testing.T) {
	named, err := ParseNames([]string{"Relay.Example:443", "127.0.0.1:8765"})
	if err != nil {
		t.Fatal(err)
	}
	local := tcpAddr(t, "203.0.113.5:8765")
	for _, c := range []struct {
		id    string
		names Names
		want  bool
	}{
		{"relay.example:443", named, true},
		{"127.0.0.1:8765", named, true},
		{"relay.example:8765", named, false},
		{"127.0.0.1:1", named, false},
		{"localhost:8765", named, false},
		{"203.0.113.5:8765", named, false},
		{"relay.example:443", nil, false},
		{"localhost:1", nil, true},
		{"127.0.0.1:1", nil, true},
		{"[::1]:1", nil, true},
		{"192.168.1.10:8765", nil, true},
		{"[fd00::1]:8765", nil, true},
		{"203.0.113.5:8765", nil, true},
		{"203.0.113.5:8766", nil, false},
		{"198.51.100.7:8765", nil, false},
		{"LOCALHOST:1", nil, false},
		{"10.0.0.1", nil, false},
		{"10.0.0.1:0080", nil, false},
		{"[::ffff:10.0.0.1]:80", nil, false},
		{"", nil, false},
	} {
		if got := c.names.Has(c.id, local); got != c.want {
			t.Errorf("%q with names %v: %v", c.id, c.names, got)
		}
	}
	if Names(nil).Has("", nil) || Names(nil).Has("203.0.113.5:8765", nil) {
		t.Error("a socket without address made a name")
	}
	for _, bad := range []string{"", "relay.example", ":443", "relay.example:https", "a b:1"} {
		if _, err := ParseNames([]string{bad}); err == nil {
			t.Errorf("name %q was taken", bad)
		}
	}
}
