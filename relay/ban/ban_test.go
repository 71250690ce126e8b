package ban

import (
	"errors"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"amesh/identity"
)

func target(t *testing.T, s string) Target {
	t.Helper()
	got, err := ParseTarget(s)
	if err != nil {
		t.Fatal(err)
	}
	return got
}

var who = identity.AMID{1, 2, 3}

func TestTargets(t *testing.T) {
	for in, want := range map[string]string{
		who.String(): who.String(), "192.0.2.7": "192.0.2.7/32", " 192.0.2.7/24 ": "192.0.2.0/24",
		"::ffff:192.0.2.7": "192.0.2.7/32", "2001:db8::1": "2001:db8::1/128", "2001:db8:1:2ff::/56": "2001:db8:1:200::/56",
	} {
		if got := target(t, in).String(); got != want {
			t.Errorf("%q is %s, want %s", in, got, want)
		}
	}
	for _, in := range []string{"", "bob", "0.0.0.0/0", "10.0.0.0/7", "::/0", "2001::/15", "192.0.2.0/33", "::ffff:192.0.2.0/120", "192.0.2.7:80"} {
		if got, err := ParseTarget(in); !errors.Is(err, ErrTarget) {
			t.Errorf("%q is %s, %v", in, got, err)
		}
	}
}

func TestBansOutliveARestart(t *testing.T) {
	path := filepath.Join(t.TempDir(), "bans.json")
	l, err := Open(path)
	if err != nil {
		t.Fatal(err)
	}
	now := time.Now().Truncate(time.Second)
	for _, b := range []Ban{
		{Target: Agent(who), Since: now, Why: "spam"},
		{Target: target(t, "192.0.2.0/24"), Since: now.Add(-time.Hour), Until: now.Add(time.Hour)},
		{Target: target(t, "2001:db8::/32"), Since: now.Add(-2 * time.Hour)},
		{Target: target(t, "198.51.100.1"), Since: now},
	} {
		if err := l.Add(b); err != nil {
			t.Fatal(err)
		}
	}
	if there, err := l.Remove(target(t, "198.51.100.1")); !there || err != nil {
		t.Errorf("removed: %v, %v", there, err)
	}
	if there, err := l.Remove(target(t, "198.51.100.1")); there || err != nil {
		t.Errorf("removed twice: %v, %v", there, err)
	}
	again, err := Open(path)
	if err != nil {
		t.Fatal(err)
	}
	for _, l := range []*List{l, again} {
		all := l.All()
		if len(all) != 3 || all[0].Target != Agent(who) || all[0].Why != "spam" || !all[0].Since.Equal(now) || !all[1].Until.Equal(now.Add(time.Hour)) {
			t.Errorf("bans %+v", all)
		}
		if _, ok := l.Agent(who); !ok {
			t.Error("the agent is not banned")
		}
		for ip, want := range map[string]bool{
			"192.0.2.200": true, "::ffff:192.0.2.200": true, "192.0.3.1": false, "198.51.100.1": false,
			"2001:db8:ffff::1": true, "2001:db9::1": false,
		} {
			if _, got := l.Address(netip.MustParseAddr(ip)); got != want {
				t.Errorf("%s banned: %v", ip, got)
			}
		}
	}
	if fi, err := os.Stat(path); err != nil || fi.Mode().Perm() != 0o600 {
		t.Errorf("file %v, %v", fi.Mode(), err)
	}
}

func TestABanEndsByItself(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l, err := Open("")
		if err != nil {
			t.Fatal(err)
		}
		if err := l.Add(Ban{Target: Agent(who), Until: time.Now().Add(time.Hour)}); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Hour - time.Nanosecond)
		if _, ok := l.Agent(who); !ok {
			t.Error("over too early")
		}
		time.Sleep(time.Nanosecond)
		if _, ok := l.Agent(who); ok || len(l.All()) != 0 {
			t.Error("not over")
		}
	})
}

func TestAFileThatIsNoListIsNotTakenForAnEmptyOne(t *testing.T) {
	for name, text := range map[string]string{
		"empty": "", "no JSON": "hello", "no version": `{"bans":[]}`, "a newer version": `{"version":2,"bans":[]}`,
		"unknown member": `{"version":1,"bans":[],"x":1}`, "no target": `{"version":1,"bans":[{"since":"2026-01-01T00:00:00Z"}]}`,
		"two lists": `{"version":1,"bans":[]}{"version":1,"bans":[]}`,
	} {
		path := filepath.Join(t.TempDir(), "bans.json")
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := Open(path); !errors.Is(err, ErrFile) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestAListIsBounded(t *testing.T) {
	l, err := Open("")
	if err != nil {
		t.Fatal(err)
	}
	for i := range MaxBans {
		l.put(Ban{Target: target(t, fmt.Sprintf("10.%d.%d.1", i/256, i%256))})
	}
	if err := l.Add(Ban{Target: Agent(who)}); !errors.Is(err, ErrFull) {
		t.Errorf("one more: %v", err)
	}
	if _, ok := l.Agent(who); ok {
		t.Error("refused, and in force")
	}
	if err := l.Add(Ban{Target: target(t, "10.0.0.1"), Why: strings.Repeat("x", MaxWhy+1)}); err == nil {
		t.Error("a reason without end")
	}
	if there, err := l.Remove(target(t, "10.0.0.1")); !there || err != nil {
		t.Errorf("remove from a full list: %v, %v", there, err)
	}
	if err := l.Add(Ban{Target: Agent(who)}); err != nil {
		t.Errorf("in the free place: %v", err)
	}
}

// What cannot be written is not in force either: after a restart nobody would know.
func TestABanThatCannotBeWritten(t *testing.T) {
	l, err := Open(filepath.Join(t.TempDir(), "gone", "bans.json"))
	if err != nil {
		t.Fatal(err)
	}
	if err := l.Add(Ban{Target: Agent(who)}); err == nil {
		t.Error("written into a folder that does not exist")
	}
	if _, ok := l.Agent(who); ok {
		t.Error("in force")
	}
}
