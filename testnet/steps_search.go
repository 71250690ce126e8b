package testnet

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"path/filepath"
	"strings"
)

// searched is what step "search" tells programs.
type searched struct {
	Words      int   `json:"words"`
	Patterns   int   `json:"patterns"`
	Files      int   `json:"relay_files"`
	FileBytes  int64 `json:"relay_bytes"`
	ProxyConns int   `json:"proxy_connections"`
	ProxyBytes int64 `json:"proxy_bytes"`
	Found      int   `json:"found"`
}

func (d *demo) search(ctx context.Context) (any, error) {
	if err := d.stopAll(); err != nil {
		return nil, err
	}
	secret, err := newSearcher(d.said)
	if err != nil {
		return nil, err
	}
	if err := secret.control(); err != nil {
		return nil, err
	}
	known, err := newSearcher(names(d.alice, d.bob))
	if err != nil {
		return nil, err
	}
	data := searched{Words: len(secret.needles), Patterns: len(secret.patterns)}
	hits, err := d.searchRelay(secret, &data)
	if err != nil {
		return nil, err
	}
	wire, err := d.searchWire(secret, known, &data)
	if err != nil {
		return nil, err
	}
	hits = append(hits, wire...)
	data.Found = len(hits)
	if err := leak(hits); err != nil {
		return nil, err
	}
	d.say.note("searched for %d words and pieces, plain, in hex and in base64 at every alignment, in", data.Words)
	d.say.note("  the relay's folder and log: %d files, %d bytes", data.Files, data.FileBytes)
	d.say.note("  all that passed the proxy:  %d connections, %d bytes, raw and unmasked", data.ProxyConns, data.ProxyBytes)
	d.say.note("found: none; the same search finds every word when it is planted, and the AMIDs on the wire")
	return data, ctx.Err()
}

// stopAll ends the nodes and the relay, so that all they write is written.
func (d *demo) stopAll() error {
	d.say.note("everybody is stopped (SIGTERM)")
	err := errors.Join(d.alice.proc.Stop(d.limits.Stop), d.bob.proc.Stop(d.limits.Stop), d.relay.proc.Stop(d.limits.Stop))
	return errors.Join(err, d.proxyEnds())
}

// names are what a relay does see: to whom mail goes, in words or, in binary frames, in
// bytes. A search that does not find them is blind.
func names(agents ...*agent) []needle {
	var all []needle
	for _, a := range agents {
		all = append(all, needle{a.name, []byte(a.amid())}, needle{a.name, a.id.AMID[:]})
	}
	return all
}

// searchMailbox searches the folder of a relay that was killed with mail in it.
func (d *demo) searchMailbox() error {
	secret, err := newSearcher(d.said)
	if err != nil {
		return err
	}
	known, err := newSearcher(names(d.bob))
	if err != nil {
		return err
	}
	seen, _, _, err := known.scanFolder("relay", d.relay.data, d.limits.ChunkBytes)
	if err != nil {
		return err
	}
	if len(seen) == 0 {
		return errors.New("the relay's folder does not name bob, for whom it keeps mail: it cannot be searched")
	}
	hits, files, n, err := secret.scanFolder("relay", d.relay.data, d.limits.ChunkBytes)
	if err != nil {
		return err
	}
	d.say.note("in its folder (%d files, %d bytes) lies mail for bob, none of it readable", files, n)
	return leak(hits)
}

// searchRelay searches all that the relay wrote.
func (d *demo) searchRelay(secret *searcher, data *searched) ([]hit, error) {
	hits, files, n, err := secret.scanFolder("relay", d.relay.data, d.limits.ChunkBytes)
	if err != nil {
		return nil, err
	}
	if n == 0 {
		return nil, errors.New("the relay's folder is empty: nothing was searched")
	}
	logs, logFiles, logBytes, err := secret.scanFolder("relay.log", filepath.Join(d.dir, "relay.log"), d.limits.ChunkBytes)
	if err == nil && logBytes == 0 {
		err = errors.New("the relay's log is empty: nothing was searched")
	}
	data.Files, data.FileBytes = files+logFiles, n+logBytes
	return append(hits, logs...), err
}

// searchWire searches the recording, as it passed and as its receivers saw it.
func (d *demo) searchWire(secret, known *searcher, data *searched) ([]hit, error) {
	conns, err := d.proxy.recording()
	if err != nil {
		return nil, err
	}
	var hits []hit
	present := make(map[string]bool)
	for i, c := range conns {
		data.ProxyConns, data.ProxyBytes = i+1, data.ProxyBytes+int64(len(c.up)+len(c.down))
		for direction, stream := range map[string][]byte{"up": c.up, "down": c.down} {
			where := fmt.Sprintf("connection %d %s", i, direction)
			raw, _, err := secret.scan(where, bytes.NewReader(stream), d.limits.ChunkBytes)
			if err != nil {
				return nil, err
			}
			s, err := unframe(stream)
			if err != nil {
				return nil, fmt.Errorf("%s: %w", where, err)
			}
			clear := bytes.Join(s.frames, nil)
			read, _, err := secret.scan(where+", unmasked", bytes.NewReader(clear), d.limits.ChunkBytes)
			if err != nil {
				return nil, err
			}
			hits = append(append(hits, raw...), read...)
			for _, h := range known.find(where, clear, len(clear), 0) {
				present[h.needle.what+" "+direction] = true
			}
		}
	}
	// Whoever connects says who it is, and what is delivered says who it is from.
	for _, seen := range []string{"alice up", "bob up", "alice down"} {
		if !present[seen] {
			return nil, fmt.Errorf("no AMID is seen where it must be (%s): the search is blind", seen)
		}
	}
	return hits, nil
}

// leak is the error of a search that found something. It shows the first places.
func leak(hits []hit) error {
	if len(hits) == 0 {
		return nil
	}
	const shown = 3
	var places []string
	for _, h := range hits[:min(shown, len(hits))] {
		places = append(places, h.String())
	}
	return fmt.Errorf("words were seen in %d places: %s", len(hits), strings.Join(places, "; "))
}

// control plants every needle in every form between other bytes and checks that
// each is found. The encoders here are not those that made the patterns.
func (s *searcher) control() error {
	for i, n := range s.needles {
		for form, text := range planted(n.text) {
			hits, _, err := s.scan("control", strings.NewReader("…"+text+"…"), shortestNeedle)
			if err != nil {
				return err
			}
			found := false
			for _, h := range hits {
				found = found || bytes.Equal(h.needle.text, s.needles[i].text)
			}
			if !found {
				return fmt.Errorf("control: the search does not find %q %s", n.text, form)
			}
		}
	}
	return nil
}

// planted is a text as it may travel, by form.
func planted(text []byte) map[string]string {
	forms := map[string]string{
		"plain":     string(text),
		"hex":       hex.EncodeToString(text),
		"upper hex": fmt.Sprintf("%X", text),
	}
	for shift := range 3 {
		inside := append([]byte("\xf3\x9c\xfe"[:shift]), text...)
		inside = append(inside, "\xfb\xef\xbe"...)
		forms[fmt.Sprintf("base64 at %d", shift)] = base64.StdEncoding.EncodeToString(inside)
		forms[fmt.Sprintf("base64url at %d", shift)] = base64.URLEncoding.EncodeToString(inside)
	}
	return forms
}
