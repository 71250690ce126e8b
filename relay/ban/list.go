package ban

import (
	"bytes"
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/netip"
	"os"
	"slices"
	"sync"
	"time"

	"amesh/identity"
)

// List is the bans of a relay. It is safe for concurrent use.
type List struct {
	path string

	writing sync.Mutex // held by changes, which write to disk

	mu   sync.RWMutex
	bans map[Target]Ban
	bits map[length]bool // that a network on the list has
}

// Open reads the list kept at path; no file is an empty list. Without a path the
// list lives in memory. It returns ErrFile for a file that is not such a list.
func Open(path string) (*List, error) {
	l := &List{path: path, bans: map[Target]Ban{}, bits: map[length]bool{}}
	if path == "" {
		return l, nil
	}
	text, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return l, nil
	}
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrFile, err)
	}
	bans, err := decode(text)
	if err != nil {
		return nil, fmt.Errorf("%w: %s: %w", ErrFile, path, err)
	}
	for _, b := range bans {
		l.put(b)
	}
	return l, nil
}

// Add bans, and replaces an earlier ban of the same target. When it returns nil the
// ban is on disk and in force; after an error everything is as before.
func (l *List) Add(b Ban) error {
	if len(b.Why) > MaxWhy {
		return fmt.Errorf("reason of %d bytes, at most %d", len(b.Why), MaxWhy)
	}
	return l.change(func(now map[Target]Ban) { now[b.Target] = b })
}

// Remove ends a ban and reports whether there was one.
func (l *List) Remove(t Target) (bool, error) {
	there := false
	err := l.change(func(now map[Target]Ban) {
		_, there = now[t]
		delete(now, t)
	})
	return there && err == nil, err
}

// change writes a changed list and then puts it in force. Bans that are over go.
func (l *List) change(f func(map[Target]Ban)) error {
	l.writing.Lock()
	defer l.writing.Unlock()
	next := map[Target]Ban{}
	for _, b := range l.All() {
		next[b.Target] = b
	}
	f(next)
	if len(next) > MaxBans {
		return fmt.Errorf("%w: %d at most", ErrFull, MaxBans)
	}
	if l.path != "" {
		text, err := encode(next)
		if err != nil {
			return err
		}
		if err := identity.ReplaceFile(l.path, text); err != nil {
			return err
		}
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.bans, l.bits = map[Target]Ban{}, map[length]bool{}
	for _, b := range next {
		l.put(b)
	}
	return nil
}

func (l *List) put(b Ban) {
	l.bans[b.Target] = b
	if p := b.Target.network; p.IsValid() {
		l.bits[length{p.Addr().Is4(), p.Bits()}] = true
	}
}

// length is that of a network, of IPv4 or IPv6.
type length struct {
	v4   bool
	bits int
}

// All returns the bans in force, the newest first.
func (l *List) All() []Ban {
	l.mu.RLock()
	defer l.mu.RUnlock()
	now := time.Now()
	var all []Ban
	for _, b := range l.bans {
		if !b.over(now) {
			all = append(all, b)
		}
	}
	slices.SortFunc(all, func(a, b Ban) int {
		return cmp.Or(b.Since.Compare(a.Since), cmp.Compare(a.Target.String(), b.Target.String()))
	})
	return all
}

// Len is how many bans there are, with those that were over since the last change.
func (l *List) Len() int {
	l.mu.RLock()
	defer l.mu.RUnlock()
	return len(l.bans)
}

// Agent finds the ban of an agent.
func (l *List) Agent(who identity.AMID) (Ban, bool) {
	l.mu.RLock()
	defer l.mu.RUnlock()
	b, ok := l.bans[Agent(who)]
	return b, ok && !b.over(time.Now())
}

// Address finds a ban of a network that an address is in.
func (l *List) Address(ip netip.Addr) (Ban, bool) {
	l.mu.RLock()
	defer l.mu.RUnlock()
	if len(l.bits) == 0 || !ip.IsValid() {
		return Ban{}, false
	}
	ip = ip.Unmap().WithZone("")
	now := time.Now()
	for n := range l.bits {
		if n.v4 != ip.Is4() {
			continue
		}
		p, err := ip.Prefix(n.bits)
		if err != nil {
			continue
		}
		if b, ok := l.bans[Target{network: p}]; ok && !b.over(now) {
			return b, true
		}
	}
	return Ban{}, false
}

// fileVersion is the version of the file's form.
const fileVersion = 1

type file struct {
	Version int    `json:"version"`
	Bans    []Line `json:"bans"`
}

// Line is a ban as files and the operator's door write it.
type Line struct {
	Target string     `json:"target"`
	Since  time.Time  `json:"since"`
	Until  *time.Time `json:"until,omitempty"`
	Why    string     `json:"why,omitempty"`
}

// LineOf writes a ban.
func LineOf(b Ban) Line {
	line := Line{Target: b.Target.String(), Since: b.Since.UTC(), Why: b.Why}
	if !b.Until.IsZero() {
		until := b.Until.UTC()
		line.Until = &until
	}
	return line
}

func encode(bans map[Target]Ban) ([]byte, error) {
	f := file{Version: fileVersion, Bans: []Line{}}
	for _, b := range bans {
		f.Bans = append(f.Bans, LineOf(b))
	}
	slices.SortFunc(f.Bans, func(a, b Line) int { return cmp.Compare(a.Target, b.Target) })
	text, err := json.MarshalIndent(f, "", "  ")
	return append(text, '\n'), err
}

func decode(text []byte) ([]Ban, error) {
	d := json.NewDecoder(bytes.NewReader(text))
	d.DisallowUnknownFields()
	var f file
	if err := d.Decode(&f); err != nil {
		return nil, err
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return nil, errors.New("something after the list")
	}
	if f.Version != fileVersion {
		return nil, fmt.Errorf("version %d, want %d", f.Version, fileVersion)
	}
	if len(f.Bans) > MaxBans {
		return nil, ErrFull
	}
	var all []Ban
	for _, line := range f.Bans {
		t, err := ParseTarget(line.Target)
		if err != nil {
			return nil, err
		}
		b := Ban{Target: t, Since: line.Since, Why: line.Why}
		if line.Until != nil {
			b.Until = *line.Until
		}
		all = append(all, b)
	}
	return all, nil
}
