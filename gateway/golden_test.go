package gateway_test

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// goldenAdminKey is the one of the recordings.
const goldenAdminKey = "test-admin-key-1"

// goldenCase is one recording: a request and agentry's answer, or a request of agentry's.
type goldenCase struct {
	file    string
	Case    string
	Gateway string
	Request *struct {
		Method, Path string
		Headers      map[string]string
		Body         json.RawMessage
		RawBody      *string `json:"raw_body"`
	}
	Response struct {
		Status  int
		Headers map[string]string
		Body    json.RawMessage
	}
	Outbound *struct {
		Path    string
		Headers map[string]string
		Body    json.RawMessage
	} `json:"outbound_request_seen_by_foreign_server"`
}

// notPlayed are recordings that need what a player has not.
var notPlayed = map[string]string{
	"162-outbound-sequential-step.json": "a step of a workflow",
	"320-db-health-db-down.json":        "the database is stopped; TestB110 does that",
	"321-db-ready-db-down.json":         "the database is stopped; TestB110 does that",
	"322-db-send-db-down.json":          "the database is stopped; TestB110 does that",
}

func readGolden(t *testing.T) []goldenCase {
	t.Helper()
	files, err := filepath.Glob("testdata/golden/*.json")
	if err != nil || len(files) == 0 {
		t.Fatal("no recordings", err)
	}
	slices.Sort(files)
	var all []goldenCase
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		c := goldenCase{file: filepath.Base(file)}
		if err := json.Unmarshal(text, &c); err != nil {
			t.Fatalf("%s: %v", file, err)
		}
		if c.Gateway == "" {
			c.Gateway = "F(b.local)"
		}
		switch c.Gateway {
		case "a.local database storage":
			c.Gateway = "D(a.local)"
		case "a.local memory":
			c.Gateway = "M(a.local)"
		}
		all = append(all, c)
	}
	return all
}

// learnKeys finds the API keys that recorded requests have, of agents whose registration
// is not among the recordings.
func learnKeys(cases []goldenCase) {
	for _, c := range cases {
		if c.Request == nil {
			continue
		}
		key, ok := strings.CutPrefix(c.Request.Headers["Authorization"], "Bearer ")
		rest, inbox := strings.CutPrefix(c.Request.Path, "/v1/inbox/")
		if agent, _, found := strings.Cut(rest, "@"); ok && inbox && found && c.Response.Status == 200 && !strings.HasPrefix(c.Gateway, "F") {
			keysOf[agent] = key
		}
	}
}

// play makes all recorded requests and returns where the answers differ, by file and
// place.
func play(t *testing.T, w *world) map[string]map[string]string {
	t.Helper()
	bind := newBinding()
	bind.same("http://127.0.0.1:18080", w.url["A"])
	bind.same("http://127.0.0.1:18081", w.url["B"])
	bind.same("http://127.0.0.1:18082", w.url["C"])
	cases := readGolden(t)
	learnKeys(cases)
	found := make(map[string]map[string]string)
	for _, c := range cases {
		if notPlayed[c.file] != "" {
			continue
		}
		for _, s := range before[c.file] {
			s.do(t, w, bind)
		}
		cmp := &comparison{bind: bind, diffs: make(map[string]string), numbers: c.Request != nil && c.Request.Path == "/metrics"}
		if c.Outbound != nil {
			c.playOutbound(t, w, cmp)
		} else {
			c.playRequest(t, w, cmp)
		}
		found[c.file] = cmp.diffs
	}
	return found
}

func (c *goldenCase) playRequest(t *testing.T, w *world, cmp *comparison) {
	t.Helper()
	body := string(c.Request.Body)
	if body == "null" {
		body = ""
	}
	if c.Request.RawBody != nil {
		body = *c.Request.RawBody
	}
	headers := make(map[string]string, len(c.Request.Headers))
	for name, value := range c.Request.Headers {
		headers[name] = cmp.bind.inRequest(value)
	}
	url := w.url[c.Gateway[:1]] + cmp.bind.inRequest(c.Request.Path)
	status, header, answer := exchange(t, c.Request.Method, url, cmp.bind.inRequest(body), headers)
	if status != c.Response.Status {
		cmp.differ("status", "%d, recorded %d: %s", status, c.Response.Status, answer)
	}
	cmp.headers(c.Response.Headers, header)
	cmp.bodies(c.Response.Body, answer)
}

// bodies compares JSON, or texts where that was recorded.
func (c *comparison) bodies(recorded json.RawMessage, actual []byte) {
	var r, a any
	if err := json.Unmarshal(recorded, &r); err != nil {
		c.differ("body", "the recording is not JSON: %v", err)
		return
	}
	if text, ok := r.(string); ok {
		if got := strings.TrimSpace(string(actual)); got != text {
			c.differ("body", "%s, recorded %s", got, text)
		}
		return
	}
	if err := json.Unmarshal(actual, &a); err != nil {
		c.differ("body", "%q, recorded %s", actual, bytes.TrimSpace(recorded))
		return
	}
	c.values("body", r, a)
}

// playOutbound compares what the foreign server got.
func (c *goldenCase) playOutbound(t *testing.T, w *world, cmp *comparison) {
	t.Helper()
	var body struct{ Payload json.RawMessage }
	if err := json.Unmarshal(c.Outbound.Body, &body); err != nil {
		t.Fatal(err)
	}
	var compact bytes.Buffer
	if err := json.Compact(&compact, body.Payload); err != nil {
		t.Fatal(err)
	}
	got, ok := w.foreign.last(`"payload":` + compact.String())
	if !ok {
		cmp.differ("request", "the foreign server never got it")
		return
	}
	if got.Path != c.Outbound.Path {
		cmp.differ("path", "%s, recorded %s", got.Path, c.Outbound.Path)
	}
	for name, recorded := range c.Outbound.Headers {
		if name == "Host" || name == "Content-Length" {
			continue
		}
		if value := got.Header.Get(name); value != recorded {
			cmp.differ("header."+name, "%q, recorded %q", value, recorded)
		}
	}
	cmp.bodies(c.Outbound.Body, got.Body)
}

// judge holds what was found against what is meant to differ.
func judge(t *testing.T, found map[string]map[string]string, intended map[string]divergence, everywhere map[string]string) {
	t.Helper()
	for path, reason := range everywhere {
		differs := false
		for _, diffs := range found {
			_, there := diffs[path]
			differs = differs || there
		}
		if !differs {
			t.Errorf("%s differs nowhere, although the table says everywhere: %s", path, reason)
		}
	}
	for file, d := range intended {
		if found[file] == nil {
			t.Errorf("%s: %s: the recording is not there or not played", file, d.reason)
		}
	}
	for _, file := range sortedKeys(found) {
		diffs, d := found[file], intended[file]
		used := make(map[string]bool)
		for _, path := range sortedKeys(diffs) {
			if everywhere[path] != "" {
				continue
			}
			if p := d.covers(path); p != "" {
				used[p] = true
				continue
			}
			t.Errorf("%s: %s is %s", file, path, diffs[path])
		}
		for _, p := range d.paths {
			if !used[p] && !d.perhaps {
				t.Errorf("%s: %s does not differ, although the table says so: %s", file, p, d.reason)
			}
		}
	}
}

func sortedKeys[V any](m map[string]V) []string {
	keys := make([]string, 0, len(m))
	for k := range m {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	return keys
}

// divergence is where, and why, we answer otherwise than agentry did.
type divergence struct {
	reason  string
	paths   []string // each with all below it
	perhaps bool     // not in every run
}

func (d divergence) covers(path string) string {
	for _, p := range d.paths {
		if path == p || strings.HasPrefix(path, p+".") || strings.HasPrefix(path, p+"[") {
			return p
		}
	}
	return ""
}
