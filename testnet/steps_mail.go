package testnet

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"amesh/node/api"
)

// fileSent is what the steps with files tell programs.
type fileSent struct {
	ID     string       `json:"id"`
	Path   api.PathKind `json:"path"`
	Size   int          `json:"size"`
	SHA256 string       `json:"sha256"`
	Parts  int          `json:"parts,omitempty"`
}

func (d *demo) sendDirect(ctx context.Context) (any, error) {
	d.say.note("the file is %s, %d bytes", d.file.note, len(d.file.body))
	sent, err := d.sendFile(ctx, d.file.path, d.file.body, "direct")
	if err != nil {
		return nil, err
	}
	if sent.Path != api.PathDirect && sent.Path != api.PathOpen {
		return nil, fmt.Errorf("the file went by path %q, want direct or open", sent.Path)
	}
	return sent, nil
}

func (d *demo) sendRelayed(ctx context.Context) (any, error) {
	body := make([]byte, d.limits.PartsBytes)
	rand.Read(body) // never fails (crypto/rand)
	path := filepath.Join(d.dir, "files", "random.bin")
	if err := os.WriteFile(path, body, 0o600); err != nil {
		return nil, err
	}
	d.said = append(d.said, fragmentsOf("the random file", body)...)
	before, err := d.bigFrames()
	if err != nil {
		return nil, err
	}
	sent, err := d.sendFile(ctx, path, body, "relayed")
	if err != nil {
		return nil, err
	}
	if sent.Path != api.PathRelayed {
		return nil, fmt.Errorf("the file went by path %q, want relayed", sent.Path)
	}
	after, err := d.bigFrames()
	if err != nil {
		return nil, err
	}
	parts := after.count - before.count
	if parts < 2 || after.bytes-before.bytes < len(body) || after.longest > d.limits.FrameBytes {
		return nil, fmt.Errorf("%d frames with %d bytes, the longest of %d, went to the relay for a file of %d bytes",
			parts, after.bytes-before.bytes, after.longest, len(body))
	}
	sent.Parts = parts
	d.say.note("the proxy saw it go to the relay in %d parts, none longer than %d bytes", parts, after.longest)
	return sent, nil
}

// sendFile lets alice send a file and bob write it to disk, and compares.
func (d *demo) sendFile(ctx context.Context, path string, body []byte, via string) (fileSent, error) {
	m, err := d.send(ctx, d.alice, 0, d.bob.amid(), "--file", path, "--intent", intent, "--via", via,
		"--timeout", d.limits.Deliver.String())
	if err != nil {
		return fileSent{}, err
	}
	received := filepath.Join(d.dir, "received", filepath.Base(path))
	if err := os.MkdirAll(filepath.Dir(received), 0o700); err != nil {
		return fileSent{}, err
	}
	if _, err := d.amesh(ctx, d.bob, 0, "read", m.ID, "--output", received); err != nil {
		return fileSent{}, err
	}
	got, err := os.ReadFile(received)
	if err != nil {
		return fileSent{}, fmt.Errorf("what bob wrote: %w", err)
	}
	want, have := sha256.Sum256(body), sha256.Sum256(got)
	d.say.note("SHA-256 of what alice sent   %x", want)
	d.say.note("SHA-256 of what bob received %x", have)
	if want != have {
		return fileSent{}, fmt.Errorf("bob received %d bytes, not the %d that alice sent", len(got), len(body))
	}
	return fileSent{ID: m.ID, Path: m.Path, Size: len(body), SHA256: hex.EncodeToString(want[:])}, d.markDone(ctx, m.ID)
}

// frameSums are the long frames that went to the relay.
type frameSums struct {
	count, bytes, longest int
}

// bigFrames sums up the frames to the relay that are long enough to carry a part
// and not only a word about one.
func (d *demo) bigFrames() (frameSums, error) {
	const big = 4 << 10
	var sums frameSums
	conns, err := d.proxy.recording()
	if err != nil {
		return sums, err
	}
	for _, c := range conns {
		up, err := unframe(c.up)
		if err != nil {
			return sums, err
		}
		for _, f := range up.frames {
			if len(f) >= big {
				sums.count, sums.bytes, sums.longest = sums.count+1, sums.bytes+len(f), max(sums.longest, len(f))
			}
		}
	}
	return sums, nil
}

// restarted is what step "restart" tells programs.
type restarted struct {
	IDs     []string  `json:"ids"`
	Where   string    `json:"where"`
	Expires time.Time `json:"expires"`
	// DownMS is how long there was no relay.
	DownMS int64 `json:"down_ms"`
}

// away are the texts for bob while he is off.
func away() []string {
	return []string{
		"first: the ferry leaves from Gothenburg at half past seven",
		"second: it is full, except for the deckchairs",
		"third: deckchairs it is, bring the umbrella",
	}
}

func (d *demo) restart(ctx context.Context) (any, error) {
	d.say.note("bob's node is stopped (SIGTERM)")
	if err := d.bob.proc.Stop(d.limits.Stop); err != nil {
		return nil, err
	}
	sent, err := d.sendAway(ctx)
	if err != nil {
		return nil, err
	}
	data := restarted{Where: sent[0].Where, Expires: sent[0].Expires}
	for _, m := range sent {
		data.IDs = append(data.IDs, m.ID)
	}
	down := time.Now()
	d.say.note("the relay is killed (SIGKILL) and started again on its data and ports")
	if err := d.relay.proc.Kill(); err != nil {
		return nil, err
	}
	if err := d.searchMailbox(); err != nil {
		return nil, err
	}
	if err := d.startRelay(ctx); err != nil {
		return nil, err
	}
	data.DownMS = time.Since(down).Milliseconds()
	if err := d.startNode(ctx, d.bob); err != nil {
		return nil, err
	}
	if err := d.arrived(ctx, data.IDs); err != nil {
		return nil, err
	}
	if _, err := d.amesh(ctx, d.bob, 0, "inbox"); err != nil {
		return nil, err
	}
	if err := d.markDone(ctx, data.IDs...); err != nil {
		return nil, err
	}
	return data, d.once(ctx, data.IDs)
}

// sendAway lets alice write to bob, who is off, until a relay keeps all of it.
func (d *demo) sendAway(ctx context.Context) ([]api.Message, error) {
	var sent []api.Message
	for _, text := range away() {
		d.said = append(d.said, wordsOf("a message", text)...)
		m, err := d.send(ctx, d.alice, exitUndelivered, d.bob.amid(), text, "--intent", intent, "--timeout", d.limits.Away.String())
		if err != nil {
			return nil, err
		}
		if m.Where == "" || !m.Expires.After(time.Now()) {
			return nil, fmt.Errorf("message %s waits at %q until %s", m.ID, m.Where, m.Expires)
		}
		sent = append(sent, m)
	}
	for i, m := range sent {
		kept, err := d.await(ctx, d.alice, m.ID, api.StateRelayed)
		if err != nil {
			return nil, err
		}
		if kept.State != api.StateRelayed || !strings.Contains(kept.Where, d.proxy.addr()) {
			return nil, fmt.Errorf("message %s is %s at %q, want relayed at the relay", m.ID, kept.State, kept.Where)
		}
		sent[i] = kept
	}
	return sent, nil
}

// arrived waits until bob has the messages and checks what they say.
func (d *demo) arrived(ctx context.Context, ids []string) error {
	var items []api.InboxItem
	err := d.until(ctx, func(ctx context.Context) (string, error) {
		page, err := d.bob.api.Inbox(ctx, "", api.InboxQuery{})
		if err != nil {
			return "", fmt.Errorf("bob's inbox: %w", err)
		}
		items = page.Items
		if len(items) < len(ids) {
			return fmt.Sprintf("bob has %d of %d messages", len(items), len(ids)), nil
		}
		return "", nil
	})
	if err != nil {
		return err
	}
	if err := sameOrder(items, ids); err != nil {
		return err
	}
	for i, text := range away() {
		in, err := d.bob.api.Read(ctx, "", ids[i], 0)
		if err != nil {
			return fmt.Errorf("read message %s: %w", ids[i], err)
		}
		if string(in.Body) != text {
			return fmt.Errorf("message %s says %q, want %q", ids[i], in.Body, text)
		}
	}
	return nil
}

// once checks that nothing came a second time, when all is said and done.
func (d *demo) once(ctx context.Context, ids []string) error {
	page, err := d.bob.api.Inbox(ctx, "", api.InboxQuery{All: true, From: d.alice.amid()})
	if err != nil {
		return fmt.Errorf("bob's inbox: %w", err)
	}
	var last []api.InboxItem
	seen := make(map[string]bool)
	for i, item := range page.Items {
		if seen[item.ID] {
			return fmt.Errorf("message %s came twice", item.ID)
		}
		seen[item.ID] = true
		if i >= len(page.Items)-len(ids) {
			last = append(last, item)
		}
	}
	d.say.note("bob's whole inbox has %d messages of alice, each once, these three last and in order", len(page.Items))
	return sameOrder(last, ids)
}

// sameOrder compares an inbox with what was sent.
func sameOrder(items []api.InboxItem, ids []string) error {
	if len(items) != len(ids) {
		return fmt.Errorf("bob has %d messages, want %d", len(items), len(ids))
	}
	for i, item := range items {
		if item.ID != ids[i] {
			return errors.New("the messages are not in the order in which they were sent")
		}
	}
	return nil
}
