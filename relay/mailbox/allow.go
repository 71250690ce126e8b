package mailbox

import (
	"bytes"
	"crypto/sha256"
	"fmt"
	"slices"

	"amesh/identity"
)

// The bounds of an allow list's salt, in bytes.
const (
	MinSalt = 16
	MaxSalt = 32
)

// AllowHash stands for one agent on an allow list: the first half of
// SHA-256(salt ‖ AMID). It hides whom an owner knows from whoever finds the list
// without its salt.
type AllowHash [16]byte

// HashFor is the hash under which who stands on a list with this salt.
func HashFor(salt []byte, who identity.AMID) AllowHash {
	// On the stack, because every message is looked up.
	var buf [MaxSalt + identity.AMIDSize]byte
	sum := sha256.Sum256(append(append(buf[:0], salt...), who[:]...))
	return AllowHash(sum[:16])
}

// AllowList says whom an owner knows. It does not change.
type AllowList struct {
	salt   []byte
	hashes []AllowHash // ascending
}

// NewAllowList makes a list of hashes that were made with the salt, of MinSalt to
// MaxSalt bytes. A list of nobody makes everybody a stranger.
func NewAllowList(salt []byte, hashes []AllowHash) (*AllowList, error) {
	if len(salt) < MinSalt || len(salt) > MaxSalt {
		return nil, fmt.Errorf("allow list: salt of %d bytes, want %d to %d", len(salt), MinSalt, MaxSalt)
	}
	l := &AllowList{salt: slices.Clone(salt), hashes: slices.Clone(hashes)}
	slices.SortFunc(l.hashes, compareHashes)
	l.hashes = slices.Clip(slices.Compact(l.hashes))
	return l, nil
}

// Len is the number of agents on the list.
func (l *AllowList) Len() int { return len(l.hashes) }

// Knows reports whether who is on the list.
func (l *AllowList) Knows(who identity.AMID) bool {
	_, found := slices.BinarySearchFunc(l.hashes, HashFor(l.salt, who), compareHashes)
	return found
}

func compareHashes(a, b AllowHash) int { return bytes.Compare(a[:], b[:]) }

// allowLists are the lists in force. They are bounded together, since an
// identity costs nothing: who needs more room than there is takes it from the
// longest list, and is refused if that is its own. An owner who lost its list is
// where it would be after a restart.
type allowLists struct {
	max   int // entries
	lists map[identity.AMID]*AllowList
	sum   int
}

func newAllowLists(max int) allowLists {
	return allowLists{max: max, lists: map[identity.AMID]*AllowList{}}
}

func (a *allowLists) of(owner identity.AMID) *AllowList { return a.lists[owner] }

// set puts a list in force, or removes it with nil.
func (a *allowLists) set(owner identity.AMID, l *AllowList) error {
	if l == nil {
		a.drop(owner)
		return nil
	}
	if a.sum-a.cost(owner)+1+l.Len() > a.max {
		longest, ok := a.longestBut(owner)
		if !ok || a.lists[longest].Len() <= l.Len() {
			return ErrList
		}
		a.drop(longest) // a longer list makes room enough
	}
	a.drop(owner)
	a.lists[owner] = l
	a.sum += a.cost(owner)
	return nil
}

func (a *allowLists) drop(owner identity.AMID) {
	a.sum -= a.cost(owner)
	delete(a.lists, owner)
}

// cost counts one for the list itself.
func (a *allowLists) cost(owner identity.AMID) int {
	if l := a.lists[owner]; l != nil {
		return 1 + l.Len()
	}
	return 0
}

func (a *allowLists) longestBut(owner identity.AMID) (longest identity.AMID, ok bool) {
	for who, l := range a.lists {
		if who != owner && (!ok || l.Len() > a.lists[longest].Len()) {
			longest, ok = who, true
		}
	}
	return longest, ok
}
