package relay

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"maps"
	"slices"
	"sync"

	"amesh/identity"
	"amesh/relay/mailbox"
)

// allowFrame says whom the owner of a mailbox knows (relay.md §9).
type allowFrame struct {
	version int64
	form    allowForm
	salt    []byte
	add     []mailbox.AllowHash // of set as well
	remove  []mailbox.AllowHash
}

type allowForm uint8

const (
	allowBroken allowForm = iota
	allowSet
	allowChange
	allowClear
)

// maxVersion is the greatest whole number that every JSON reader keeps exactly.
const maxVersion = 1<<53 - 1

// allowedFrame answers an allowFrame: with the length of the list that is in force,
// or with a code.
type allowedFrame struct {
	Type    string      `json:"type"`
	Version int64       `json:"version"`
	Count   *int        `json:"count,omitempty"`
	Code    RefusalCode `json:"code,omitempty"`
}

func (m members) allow(ok *bool) allowFrame {
	var f allowFrame
	if json.Unmarshal(m["version"], &f.version) != nil || f.version < 1 || f.version > maxVersion {
		*ok = false
		return f
	}
	fine := true
	has := func(name string) bool { _, have := m[name]; return have }
	switch set, clear := has("set"), has("clear"); {
	case clear:
		f.form = allowClear
		fine = string(m["clear"]) == "true" && !set && !has("salt") && !has("add") && !has("remove")
	case set:
		f.form = allowSet
		f.salt = m.bytes("salt", &fine)
		f.add = m.hashes("set", &fine)
		fine = fine && !has("add") && !has("remove")
	default:
		f.form = allowChange
		f.add, f.remove = m.hashes("add", &fine), m.hashes("remove", &fine)
		fine = fine && !has("salt") && (has("add") || has("remove"))
	}
	if !fine {
		return allowFrame{version: f.version}
	}
	return f
}

// bytes is a required member of padded base64.
func (m members) bytes(name string, ok *bool) []byte {
	text := m.text(name, ok)
	b, err := base64.StdEncoding.Strict().DecodeString(text)
	if err != nil || base64.StdEncoding.EncodedLen(len(b)) != len(text) {
		*ok = false
	}
	return b
}

// hashes is a list that may be absent.
func (m members) hashes(name string, ok *bool) []mailbox.AllowHash {
	if _, have := m[name]; !have {
		return nil
	}
	var list []mailbox.AllowHash
	for h := range slices.Chunk(m.bytes(name, ok), len(mailbox.AllowHash{})) {
		if len(h) != len(mailbox.AllowHash{}) {
			*ok = false
			return nil
		}
		list = append(list, mailbox.AllowHash(h))
	}
	return list
}

// allowing is the list that one connection has made; the zero allowing is none.
type allowing struct {
	salt   []byte
	hashes map[mailbox.AllowHash]struct{}
}

// apply is the list after a frame, or why there is none.
func (a allowing) apply(f allowFrame) (allowing, RefusalCode) {
	switch f.form {
	case allowClear:
		return allowing{}, ""
	case allowSet:
		a = allowing{salt: f.salt, hashes: make(map[mailbox.AllowHash]struct{}, len(f.add))}
	case allowChange:
		if a.hashes == nil {
			return a, RefusedOutOfOrder
		}
		a.hashes = maps.Clone(a.hashes)
	default:
		return a, RefusedInvalid
	}
	for _, h := range f.add {
		a.hashes[h] = struct{}{}
	}
	for _, h := range f.remove {
		delete(a.hashes, h)
	}
	return a, ""
}

// cost is what a frame counts for among the queries of an agent: the whole list is
// sorted anew.
func (a allowing) cost(f allowFrame) int { return 1 + (len(a.hashes)+len(f.add))/256 }

// allow puts a list in force and says so.
func (c *conn) allow(f allowFrame) {
	if !slices.Contains(c.agreed, ExtensionAllow) {
		return
	}
	next, code := c.allowing.apply(f)
	if code == "" {
		code = c.enforce(next)
	}
	answer := allowedFrame{Type: typeAllowed, Version: f.version, Code: code}
	if code == "" {
		c.allowing = next
		if n := len(next.hashes); next.hashes != nil {
			answer.Count = &n
		}
	}
	c.queue.push(encode(answer))
}

// enforce gives a list to the mailbox.
func (c *conn) enforce(a allowing) RefusalCode {
	var list *mailbox.AllowList
	if a.hashes != nil {
		var err error
		if list, err = mailbox.NewAllowList(a.salt, slices.Collect(maps.Keys(a.hashes))); err != nil {
			return RefusedInvalid
		}
	}
	lock := c.s.allowing.of(c.who)
	lock.Lock()
	defer lock.Unlock()
	if c.s.find(c.who) != c {
		// The agent's newer connection may have sent its list already.
		return RefusedStorage
	}
	err := c.s.box.Allow(context.WithoutCancel(c.ctx), c.who, list)
	if errors.Is(err, mailbox.ErrList) {
		return RefusedTooMany
	}
	c.s.storageResult(err)
	if err != nil {
		return RefusedStorage
	}
	return ""
}

// locks are a few mutexes for many agents.
type locks [64]sync.Mutex

func (l *locks) of(who identity.AMID) *sync.Mutex { return &l[int(who[0])%len(l)] }
