package doctor

import (
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"amesh/identity"
	"amesh/internal/store"
	"amesh/node/api"
)

var now = time.Date(2026, 11, 21, 12, 0, 0, 0, time.UTC)

var schema = store.Schema{Name: "amesh-node", Version: 1}

func one(t *testing.T, list []api.Check, name string) api.Check {
	t.Helper()
	for _, c := range list {
		if c.Name == name {
			return c
		}
	}
	t.Fatalf("no check %s in %+v", name, list)
	return api.Check{}
}

func write(t *testing.T, path, text string, mode os.FileMode) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(text), mode); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(path, mode); err != nil { // whatever the umask
		t.Fatal(err)
	}
}

// Every check that warns or fails says what to do, and every state is one that is known.
func wellFormed(t *testing.T, list []api.Check) {
	t.Helper()
	for _, c := range list {
		switch {
		case c.Name == "" || c.Text == "":
			t.Errorf("a check without a name or a text: %+v", c)
		case (c.State == api.CheckFail || c.State == api.CheckWarn) && c.Next == "":
			t.Errorf("no next step: %+v", c)
		}
	}
}

func TestHome(t *testing.T) {
	home := func(change func(dir string)) string {
		dir := filepath.Join(t.TempDir(), "home")
		write(t, filepath.Join(dir, "agents/bob/identity.json"), "{}", 0o600)
		write(t, filepath.Join(dir, "agents/bob/token"), "t", 0o600)
		write(t, filepath.Join(dir, "state/SCHEMA"), "amesh-node 1\n", 0o600)
		write(t, filepath.Join(dir, "state.key"), "k", 0o600)
		if err := os.Chtimes(filepath.Join(dir, "agents/bob/identity.json"), now, now); err != nil {
			t.Fatal(err)
		}
		change(dir)
		return dir
	}
	for name, c := range map[string]struct {
		change func(dir string)
		check  string
		want   api.CheckState
	}{
		"as it should be":        {func(string) {}, "home", api.CheckOK},
		"keys of its owner":      {func(string) {}, "keys", api.CheckOK},
		"state":                  {func(string) {}, "state", api.CheckOK},
		"no policy":              {func(string) {}, "policy", api.CheckOK},
		"a young agent":          {func(string) {}, "backup", api.CheckSkip},
		"others may enter":       {func(dir string) { _ = os.Chmod(dir, 0o755) }, "home", api.CheckFail},
		"a key that others read": {func(dir string) { _ = os.Chmod(filepath.Join(dir, "agents/bob/token"), 0o640) }, "keys", api.CheckFail},
		"the echo agent's, too":  {func(dir string) { write(t, filepath.Join(dir, "echo/identity.json"), "{}", 0o644) }, "keys", api.CheckFail},
		"a policy too long":      {func(dir string) { write(t, filepath.Join(dir, "policy.json"), "{}"+strings.Repeat(" ", 1<<20), 0o600) }, "policy", api.CheckFail},
		"state of the future":    {func(dir string) { write(t, filepath.Join(dir, "state/SCHEMA"), "amesh-node 2\n", 0o600) }, "state", api.CheckFail},
		"state of another":       {func(dir string) { write(t, filepath.Join(dir, "state/SCHEMA"), "other 1\n", 0o600) }, "state", api.CheckFail},
		"the state's key lost":   {func(dir string) { _ = os.Remove(filepath.Join(dir, "state.key")) }, "state", api.CheckFail},
		"the identity lost":      {func(dir string) { _ = os.Remove(filepath.Join(dir, "agents/bob/identity.json")) }, "state", api.CheckFail},
		"a restore cut short":    {func(dir string) { _ = os.Mkdir(filepath.Join(dir, "restoring"), 0o700) }, "state", api.CheckFail},
		"a policy":               {func(dir string) { write(t, filepath.Join(dir, "policy.json"), `{"strangers":"reject"}`, 0o600) }, "policy", api.CheckOK},
		"a policy misspelt":      {func(dir string) { write(t, filepath.Join(dir, "policy.json"), `{"blok":[]}`, 0o600) }, "policy", api.CheckFail},
		"a backup": {func(dir string) {
			if err := NoteBackup(dir, now); err != nil {
				t.Fatal(err)
			}
			_ = os.Chtimes(filepath.Join(dir, LastBackup), now, now)
		}, "backup", api.CheckOK},
		"an old backup": {func(dir string) {
			_ = NoteBackup(dir, now)
			old := now.Add(-31 * 24 * time.Hour)
			_ = os.Chtimes(filepath.Join(dir, LastBackup), old, old)
		}, "backup", api.CheckWarn},
		"no backup of an old agent": {func(dir string) {
			old := now.Add(-8 * 24 * time.Hour)
			_ = os.Chtimes(filepath.Join(dir, "agents/bob/identity.json"), old, old)
		}, "backup", api.CheckWarn},
	} {
		list := Home(home(c.change), schema, now)
		wellFormed(t, list)
		if got := one(t, list, c.check); got.State != c.want {
			t.Errorf("%s: %+v, want %s", name, got, c.want)
		}
	}
	if got := one(t, Home(filepath.Join(t.TempDir(), "none"), schema, now), "home"); got.State != api.CheckFail {
		t.Errorf("no home: %+v", got)
	}
}

func TestSystem(t *testing.T) {
	for name, c := range map[string]struct {
		limit int
		known bool
		want  api.CheckState
	}{
		"plenty": {65536, true, api.CheckOK}, "few": {512, true, api.CheckWarn}, "too few": {128, true, api.CheckFail}, "unknown": {0, false, api.CheckSkip},
	} {
		if got := openFiles(c.limit, c.known); got.State != c.want {
			t.Errorf("%s: %+v", name, got)
		}
	}
	root := t.TempDir()
	if InContainer(root) || udpBuffers(root).State != api.CheckSkip {
		t.Error("an empty machine")
	}
	write(t, filepath.Join(root, "proc/sys/net/core/rmem_max"), "212992\n", 0o600)
	write(t, filepath.Join(root, "proc/sys/net/core/wmem_max"), "7500000\n", 0o600)
	write(t, filepath.Join(root, "proc/1/cgroup"), "0::/kubepods/x\n", 0o600)
	if got := udpBuffers(root); got.State != api.CheckWarn || got.Next != "sysctl -w net.core.rmem_max=7500000" {
		t.Errorf("small buffers: %+v", got)
	}
	if !InContainer(root) {
		t.Error("a pod is a container")
	}
	wellFormed(t, System("/"))
}

func TestAddressesOfABridge(t *testing.T) {
	for name, c := range map[string]struct {
		listen    []string
		container bool
		want      api.CheckState
	}{
		"loopback":       {[]string{"/ip4/127.0.0.1/tcp/1"}, false, api.CheckOK},
		"a house's":      {[]string{"/ip4/192.168.1.7/udp/1/quic-v1", "strange", "/ip4"}, false, api.CheckOK},
		"docker0":        {[]string{"/ip4/192.168.1.7/udp/1/quic-v1", "/ip4/172.17.0.1/udp/1/quic-v1"}, false, api.CheckWarn},
		"in a container": {[]string{"/ip4/172.17.0.2/udp/1/quic-v1"}, true, api.CheckWarn},
	} {
		if got := Addresses(c.listen, c.container); got.State != c.want {
			t.Errorf("%s: %+v", name, got)
		}
	}
	both := []string{"/ip4/192.168.1.7/tcp/1", "/ip4/192.168.1.7/udp/1/quic-v1"}
	if got := Addresses(both, false); strings.Count(got.Text, "192.168.1.7") != 1 {
		t.Errorf("an address twice: %s", got.Text)
	}
}

func TestClock(t *testing.T) {
	served := func(date string) *httptest.Server {
		s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Date", date)
			w.WriteHeader(http.StatusUpgradeRequired)
		}))
		t.Cleanup(s.Close)
		return s
	}
	at := func(d time.Duration) string { return served(now.Add(d).Format(http.TimeFormat)).URL }
	for name, c := range map[string]struct {
		urls []string
		want api.CheckState
	}{
		"nobody to ask":        {nil, api.CheckSkip},
		"nobody answers":       {[]string{"http://127.0.0.1:1"}, api.CheckSkip},
		"no date":              {[]string{served("yesterday").URL}, api.CheckSkip},
		"agrees":               {[]string{strings.Replace(at(0), "http", "ws", 1) + "/v1/connect"}, api.CheckOK},
		"a minute behind":      {[]string{at(time.Minute)}, api.CheckWarn},
		"ten minutes ahead":    {[]string{at(-10 * time.Minute)}, api.CheckFail},
		"one server is wrong":  {[]string{at(0), at(time.Hour), at(0)}, api.CheckOK},
		"no URL is no trouble": {[]string{"::", at(0)}, api.CheckOK},
	} {
		got := Clock(t.Context(), nil, c.urls, func() time.Time { return now })
		if got.State != c.want {
			t.Errorf("%s: %+v", name, got)
		}
		wellFormed(t, []api.Check{got})
	}
}

func TestNode(t *testing.T) {
	peer := identity.AMID{1}
	good := func() Facts {
		return Facts{DHT: true, LAN: true, Keys: []api.Keys{{Agent: "bob", Expires: now.Add(5 * 24 * time.Hour)}}, Status: api.Status{
			Relays: []api.Relay{{URL: "wss://r", Role: "home", State: "connected", Trust: "pinned", LatencyMS: 12}}, DHT: api.DHT{Peers: 3, Published: true},
			Agents:     []api.Agent{{Name: "bob", OneTime: &api.OneTimeKeys{X25519: 9, KEM: 9}}},
			Registries: []api.Registry{{URL: "https://g", State: "ok"}},
		}}
	}
	for name, c := range map[string]struct {
		change func(*Facts)
		check  string
		want   api.CheckState
	}{
		"a relay":                {func(*Facts) {}, "relay", api.CheckOK},
		"no relay":               {func(f *Facts) { f.Status.Relays = nil }, "relay", api.CheckWarn},
		"a relay out of reach":   {func(f *Facts) { f.Status.Relays[0].State = "connecting" }, "relay", api.CheckFail},
		"a relay on standby":     {func(f *Facts) { f.Status.Relays[0].State, f.Status.Relays[0].Role = "standby", "standby" }, "relay", api.CheckOK},
		"a relay that refuses":   {func(f *Facts) { f.Status.Relays[0].State = "refused" }, "relay", api.CheckFail},
		"a relay that goes":      {func(f *Facts) { f.Status.Relays[0].Role = "draining" }, "relay", api.CheckWarn},
		"a relay far away":       {func(f *Facts) { f.Status.Relays[0].LatencyMS = 1500 }, "relay", api.CheckWarn},
		"a legacy relay":         {func(f *Facts) { f.Status.Relays[0].Trust = "legacy" }, "relay", api.CheckWarn},
		"the DHT":                {func(*Facts) {}, "dht", api.CheckOK},
		"no DHT wanted":          {func(f *Facts) { f.DHT = false }, "dht", api.CheckSkip},
		"no DHT server":          {func(f *Facts) { f.Status.DHT.Peers = 0 }, "dht", api.CheckFail},
		"not published":          {func(f *Facts) { f.Status.DHT.Published = false }, "record", api.CheckFail},
		"a registry":             {func(*Facts) {}, "registry", api.CheckOK},
		"a registry away":        {func(f *Facts) { f.Status.Registries[0].State = "failing" }, "registry", api.CheckFail},
		"a registry that lied":   {func(f *Facts) { f.Status.Registries[0].Warnings = []api.Warning{{Text: "it lied"}} }, "registry", api.CheckWarn},
		"keys":                   {func(*Facts) {}, "bundle", api.CheckOK},
		"keys that were revoked": {func(f *Facts) { f.Keys[0].Revoked = &api.Revocation{Reason: "retired"} }, "bundle", api.CheckFail},
		"keys about to expire":   {func(f *Facts) { f.Keys[0].Expires = now.Add(time.Hour) }, "bundle", api.CheckWarn},
		"keys that expired":      {func(f *Facts) { f.Keys[0].Expires = now }, "bundle", api.CheckFail},
		"one-time keys":          {func(*Facts) {}, "one_time_keys", api.CheckOK},
		"none of a kind":         {func(f *Facts) { f.Status.Agents[0].OneTime.KEM = 0 }, "one_time_keys", api.CheckWarn},
		"state put back":         {func(f *Facts) { at := now.Add(-time.Hour); f.Status.Agents[0].RolledBack = &at }, "rollback", api.CheckFail},
		"put back long ago":      {func(f *Facts) { at := now.Add(-73 * time.Hour); f.Status.Agents[0].RolledBack = &at }, "rollback", api.CheckOK},
		"a certificate":          {func(f *Facts) { f.Certificates = map[string]time.Time{"bob": now.Add(90 * 24 * time.Hour)} }, "certificate", api.CheckOK},
		"a certificate's end":    {func(f *Facts) { f.Certificates = map[string]time.Time{"bob": now.Add(24 * time.Hour)} }, "certificate", api.CheckWarn},
		"a certificate ended":    {func(f *Facts) { f.Certificates = map[string]time.Time{"bob": now} }, "certificate", api.CheckFail},
		"a queue that moves":     {func(f *Facts) { f.Status.Queued = 3 }, "queue", api.CheckOK},
		"a queue that stands": {func(f *Facts) {
			f.Status.Queued, f.Status.Peers = 3, []api.Peer{{AMID: peer, Waiting: 3, Path: api.PathNone}}
		}, "queue", api.CheckWarn},
		"somebody knocks":     {func(f *Facts) { f.Status.Knocks = 2 }, "knocks", api.CheckOK},
		"no neighbours":       {func(f *Facts) { f.LAN = false }, "lan", api.CheckSkip},
		"what else is broken": {func(f *Facts) { f.Others = []string{"x"} }, "trouble", api.CheckFail},
	} {
		f := good()
		c.change(&f)
		list := Node(f, now)
		wellFormed(t, list)
		if got := one(t, list, c.check); got.State != c.want {
			t.Errorf("%s: %+v, want %s", name, got, c.want)
		}
	}
}
