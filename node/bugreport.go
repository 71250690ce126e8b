package node

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"runtime/pprof"
	"strings"
	"sync"
	"time"

	"amesh/internal/proxy"
	"amesh/node/api"
	"amesh/node/doctor"
	"amesh/node/redact"
)

const (
	// recentLines is how many lines of the log are kept for a report: about an hour of a
	// node in trouble, at most half a MiB.
	recentLines = 500
	// goroutinesMost bounds the list of goroutines in a report, in bytes.
	goroutinesMost = 512 << 10
	// secretFile bounds what is read of a file to look for the secrets in it.
	secretFile = 64 << 10
)

// section is a part of a report. It is text, or what is to be JSON.
type section struct {
	name string
	text string
	data any
	code bool // text of the program itself
}

// settings are what a node was told, without secrets.
type settings struct {
	Relays         []string `json:"relay"`
	Homes          int      `json:"relay.homes"`
	LegacyRelay    bool     `json:"relay.allow_legacy"`
	Registries     []string `json:"registry"`
	LegacyRegistry bool     `json:"registry.allow_legacy"`
	Bootstrap      []string `json:"bootstrap"`
	Listen         []string `json:"listen"`
	API            string   `json:"api"`
	Announce       string   `json:"announce"`
	MapPorts       bool     `json:"map_ports"`
	Punch          string   `json:"punch"`
	STUN           []string `json:"stun"`
	DHT            string   `json:"dht"`
	LAN            bool     `json:"lan"`
	Echo           bool     `json:"echo"`
	Proxy          string   `json:"proxy"`
	Credentials    bool     `json:"proxy_credentials"` // there are some
}

// Bugreport implements api.Diagnosis.
func (m *mesh) Bugreport(ctx context.Context, req api.BugreportRequest) (api.Bugreport, error) {
	cfg := &m.node.cfg
	var net api.Netcheck
	var doc api.Doctor
	var netErr, docErr error
	var looking sync.WaitGroup
	looking.Go(func() { net, netErr = m.Netcheck(ctx, api.NetcheckRequest{}) })
	looking.Go(func() { doc, docErr = m.Doctor(ctx) })
	status, err := m.Status(ctx, "")
	looking.Wait()
	if err != nil {
		return api.Bugreport{}, err
	}
	if ctx.Err() != nil {
		return api.Bugreport{}, ctx.Err()
	}
	policy, err := m.policy.view("")
	if err != nil {
		return api.Bugreport{}, err
	}
	mask, err := m.mask(req.Names)
	if err != nil {
		return api.Bugreport{}, err
	}
	return compose(mask, true, []section{
		{name: "version", text: versionText(cfg.Version, m.started)},
		{name: "configuration", data: settings{
			Relays: cfg.Relays, Registries: cfg.Registries, Bootstrap: cfg.Bootstrap, Listen: cfg.Listen, STUN: cfg.STUN, Homes: cfg.Homes, API: cfg.API,
			Announce: cfg.Announce, Punch: cfg.Punch, DHT: fmt.Sprint(cfg.DHT), Proxy: proxy.Shown(cfg.Proxy), Credentials: cfg.ProxyCredentials != "",
			MapPorts: cfg.MapPorts, LAN: cfg.LAN, Echo: cfg.Echo, LegacyRelay: cfg.AllowLegacyRelay, LegacyRegistry: cfg.AllowLegacyRegistry,
		}},
		{name: "status", data: status}, {name: "policy", data: policy}, orError("netcheck", net, netErr), orError("doctor", doc, docErr),
		{name: "log", text: strings.Join(m.node.recent.All(), "\n")}, {name: "goroutines", text: goroutines(), code: true},
	})
}

func orError(name string, data any, err error) section {
	if err != nil {
		return section{name: name, text: err.Error()}
	}
	return section{name: name, data: data}
}

// mask knows the secrets of the home, and whom and what the node has to do with.
func (m *mesh) mask(names bool) (*redact.Mask, error) {
	mask := newMask(m.node.cfg.Home, names)
	mask.Secret(m.node.cfg.ProxyCredentials)
	for _, r := range m.rooms {
		mask.Agent(r.agent.AMID(), "own")
		if name := r.agent.Name; name != defaultAgent && name != echoName {
			mask.Word(name, "agent")
		}
		contacts, err := r.agent.Contacts()
		if err != nil {
			return nil, err
		}
		for _, c := range contacts {
			mask.Word(c.Name, "contact")
		}
	}
	return mask, nil
}

// newMask knows the secrets in the files of a home, and whose machine it is on.
func newMask(home string, names bool) *redact.Mask {
	mask := &redact.Mask{Names: names}
	for _, pattern := range doctor.SecretFiles {
		found, _ := filepath.Glob(filepath.Join(home, pattern)) // the patterns are ours
		for _, path := range found {
			for _, secret := range secretsIn(path) {
				mask.Secret(secret)
			}
		}
	}
	mask.Word(home, "home")
	if user, err := os.UserHomeDir(); err == nil && len(user) > 1 {
		mask.Word(user, "user-home")
	}
	if host, err := os.Hostname(); err == nil && host != "localhost" {
		mask.Word(host, "host")
	}
	return mask
}

// secretsIn are the texts in a secret file that could be its secrets: every long word.
func secretsIn(path string) []string {
	f, err := os.Open(path)
	if err != nil {
		return nil
	}
	defer f.Close()
	raw, err := io.ReadAll(io.LimitReader(f, secretFile))
	if err != nil {
		return nil
	}
	var list []string
	for _, word := range strings.FieldsFunc(string(raw), func(r rune) bool { return strings.ContainsRune(" \t\r\n\",:{}[]", r) }) {
		if len(word) >= 30 && !strings.HasPrefix(word, "did") { // a key has 32 bytes
			list = append(list, word)
		}
	}
	return list
}

func versionText(version string, started time.Time) string {
	text := fmt.Sprintf("amesh %s, %s, %s/%s, %d processors, container: %t\n", version, runtime.Version(), runtime.GOOS, runtime.GOARCH, runtime.NumCPU(),
		doctor.InContainer("/"))
	if started.IsZero() {
		return text
	}
	var mem runtime.MemStats
	runtime.ReadMemStats(&mem)
	return text + fmt.Sprintf("up %s, %d goroutines, heap %d KiB of %d KiB\n", time.Since(started).Truncate(time.Second), runtime.NumGoroutine(), mem.HeapAlloc>>10, mem.Sys>>10)
}

// goroutines lists what the program is doing, without the values that it does it with.
func goroutines() string {
	var b bytes.Buffer
	if err := pprof.Lookup("goroutine").WriteTo(&b, 1); err != nil {
		return err.Error()
	}
	return string(b.Bytes()[:min(b.Len(), goroutinesMost)])
}

// ReportWithout makes a report about a home on which no node runs. told is what stands in
// its configuration.
func ReportWithout(ctx context.Context, home, version string, told map[string][]string, servers Servers, names bool) (api.Bugreport, error) {
	told = cloneTold(told)
	net := Survey(ctx, servers, func(string) {})
	checks := Examine(ctx, home, servers)
	if ctx.Err() != nil {
		return api.Bugreport{}, ctx.Err()
	}
	return compose(newMask(home, names), false, []section{
		{name: "version", text: versionText(version, time.Time{})}, {name: "configuration", data: told},
		{name: "netcheck", data: net}, {name: "doctor", data: checks},
	})
}

// cloneTold copies a configuration without what may have a password in it.
func cloneTold(told map[string][]string) map[string][]string {
	own := make(map[string][]string, len(told))
	for key, values := range told {
		switch own[key] = values; key {
		case "proxy_credentials":
			own[key] = []string{redact.Hidden}
		case "proxy":
			own[key] = nil
			for _, setting := range values {
				own[key] = append(own[key], proxy.Shown(setting))
			}
		}
	}
	return own
}

const reportTitle = "amesh bugreport\n\nNothing of this was sent anywhere. Look through it before you hand it over. Not in it: keys, tokens, invites, and what\nmessages say. "

// compose writes the sections one below the other.
func compose(mask *redact.Mask, daemon bool, sections []section) (api.Bugreport, error) {
	report := api.Bugreport{Sections: []string{}, Daemon: daemon}
	var body strings.Builder
	for _, s := range sections {
		if s.data != nil {
			raw, err := json.MarshalIndent(s.data, "", "  ")
			if err != nil {
				return report, fmt.Errorf("report: %s: %w", s.name, err)
			}
			s.text = string(raw)
		}
		if s.code {
			s.text = mask.Code(s.text)
		} else {
			s.text = mask.Text(s.text)
		}
		fmt.Fprintf(&body, "\n== %s\n%s\n", s.name, strings.TrimRight(s.text, "\n"))
		report.Sections = append(report.Sections, s.name)
	}
	head := reportTitle + "Agents, nodes, names and IP addresses stand as pseudonyms, the same for the same everywhere:\n\n" + strings.Join(mask.Legend(), "\n") + "\n"
	if mask.Names {
		head = reportTitle + "Agents, nodes, names and IP addresses stand as they are.\n"
	}
	report.Text, report.Replaced = head+body.String(), mask.Replaced()
	return report, nil
}
