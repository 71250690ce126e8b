package mailbox

import (
	"cmp"
	"slices"

	"amesh/identity"
)

// ledger is all that a mailbox knows about its rows but for their payloads: the
// quotas are decided here, for every implementation the same. It is a plain
// data structure without clock or lock; times are microseconds of the mailbox's
// own clock.
type ledger struct {
	limits             Limits
	boxes              map[identity.AMID]*box
	lists              allowLists
	total              Size
	strangers, notices int
	taken              int // names of messages that were taken
	highest            Cursor
}

// box is one mailbox.
type box struct {
	boxRow
	entries            []entry // by cursor
	taken              []entry // names without rows, by cursor
	used               Size    // without notices
	strangers, notices int
}

// boxRow is what is remembered of an owner, mail or no mail.
type boxRow struct {
	wide bool
	// listed says that the owner has an allow list, be it known here or not.
	listed bool
	// seen is when the owner last connected with "ack".
	seen int64
}

func (b boxRow) empty() bool { return !b.wide && !b.listed }

// entry is one row of a mailbox.
type entry struct {
	cursor Cursor
	due    int64
	from   identity.AMID // of a notice zero
	id     MessageID
	size   uint32
	flags  flags
}

// flags are stored: bits are only ever added.
type flags uint8

const (
	flagOnce     flags = 1 << iota // stored by name, and its sender gets a notice
	flagStranger                   // its sender was not on the allow list
	flagNotice                     // no message
	flagBinary                     // the payload is an envelope's bytes
	flagTaken                      // a name only: the message was taken
)

func (f flags) has(x flags) bool { return f&x != 0 }

func newLedger(l Limits) ledger {
	return ledger{limits: l, boxes: map[identity.AMID]*box{}, lists: newAllowLists(l.AllowTotal)}
}

// verdict says what becomes of a message.
type verdict struct {
	// old is the row that has the message's name already, or had it until it was
	// taken, if named.
	old   entry
	named bool
	// flags are those of the new row, and err is why there is none.
	flags flags
	err   error
}

// repeats reports whether the message is there already.
func (v *verdict) repeats(now int64) bool { return v.named && v.old.due > now }

// judge decides about a message without changing anything. A row of the same name
// whose time is over does not count: the message takes its place. A name that was
// taken comes before everything else.
func (l *ledger) judge(m *Message, now int64) verdict {
	b := l.boxes[m.To]
	if b == nil {
		b = &box{}
	}
	v := verdict{flags: flagsOf(m)}
	if m.Once {
		if v.old, v.named = b.wasTaken(m, now); v.named {
			return v
		}
	}
	used, total := b.used, l.total
	strangers := b.strangers
	var theirs Size
	var knocks int
	for i := range b.entries {
		e := &b.entries[i]
		if e.from != m.From || e.flags.has(flagNotice) {
			continue
		}
		if m.Once && e.id == m.ID && e.flags.has(flagOnce) {
			v.old, v.named = *e, true
			if e.due > now {
				return v
			}
			used, total = used.Plus(-1, -int64(e.size)), total.Plus(-1, -int64(e.size))
			if e.flags.has(flagStranger) {
				strangers--
			}
			continue
		}
		theirs = theirs.Plus(1, int64(e.size))
		if e.flags.has(flagStranger) {
			knocks++
		}
	}
	room, share := l.room(b)
	list := l.lists.of(m.To)
	switch {
	case list != nil && !list.Knows(m.From):
		v.flags |= flagStranger
		if m.Kind != KindKnock {
			v.err = ErrStranger
			return v
		}
		if strangers >= l.limits.Strangers || knocks >= l.limits.StrangerEach {
			v.err = ErrFull
		}
	case list == nil && b.listed:
		room = Size{Messages: room.Messages - room.Messages/4, Bytes: room.Bytes - room.Bytes/4}
	}
	size := m.Size()
	if !theirs.Fits(size, share) || !used.Fits(size, room) || !total.Fits(size, l.limits.Total) {
		v.err = ErrFull
	}
	return v
}

func flagsOf(m *Message) flags {
	var f flags
	if m.Once {
		f |= flagOnce
	}
	if m.Binary {
		f |= flagBinary
	}
	return f
}

func (l *ledger) room(b *box) (room, share Size) {
	if b.wide {
		return l.limits.Box, l.limits.Share
	}
	return l.limits.LegacyBox, l.limits.LegacyShare
}

// next is the cursor of a new row. It is not below the clock, so that it is above
// those that a process before this one gave out.
func (l *ledger) next(now int64) Cursor {
	l.highest = max(l.highest+1, Cursor(now))
	return l.highest
}

// add enters a row that is younger than all others of its mailbox.
func (l *ledger) add(owner identity.AMID, e entry) {
	b := l.touch(owner)
	b.entries = append(b.entries, e)
	l.highest = max(l.highest, e.cursor)
	l.count(b, &e, 1)
}

// remove takes rows out and returns those that were there, by cursor.
func (l *ledger) remove(owner identity.AMID, cursors []Cursor) []entry {
	b := l.boxes[owner]
	if b == nil {
		return nil
	}
	gone := cut(&b.entries, cursors)
	for i := range gone {
		l.count(b, &gone[i], -1)
	}
	l.tidy(owner)
	return gone
}

// cut takes the entries with these cursors out and returns them.
func cut(entries *[]entry, cursors []Cursor) []entry {
	if len(cursors) == 0 {
		return nil
	}
	cursors = slices.Clone(cursors)
	slices.Sort(cursors)
	var gone []entry
	*entries = slices.DeleteFunc(*entries, func(e entry) bool {
		if _, found := slices.BinarySearch(cursors, e.cursor); !found {
			return false
		}
		gone = append(gone, e)
		return true
	})
	return gone
}

// replace puts other rows in the place of all of a mailbox.
func (l *ledger) replace(owner identity.AMID, row boxRow, entries []entry) {
	b := l.touch(owner)
	for i := range b.entries {
		l.count(b, &b.entries[i], -1)
	}
	l.taken -= len(b.taken)
	b.boxRow, b.entries, b.taken = row, nil, nil
	for i := range entries {
		e := &entries[i]
		l.highest = max(l.highest, e.cursor)
		if e.flags.has(flagTaken) {
			b.taken = append(b.taken, *e)
			continue
		}
		b.entries = append(b.entries, *e)
		l.count(b, e, 1)
	}
	l.taken += len(b.taken)
	l.tidy(owner)
}

// remember sets what is kept of an owner.
func (l *ledger) remember(owner identity.AMID, row boxRow) {
	l.touch(owner).boxRow = row
	l.tidy(owner)
}

func (l *ledger) count(b *box, e *entry, n int) {
	if e.flags.has(flagNotice) {
		b.notices += n
		l.notices += n
		return
	}
	size := int64(n) * int64(e.size)
	b.used, l.total = b.used.Plus(n, size), l.total.Plus(n, size)
	if e.flags.has(flagStranger) {
		b.strangers += n
		l.strangers += n
	}
}

func (l *ledger) touch(owner identity.AMID) *box {
	b := l.boxes[owner]
	if b == nil {
		b = &box{}
		l.boxes[owner] = b
	}
	return b
}

// tidy forgets a mailbox of which there is nothing to know.
func (l *ledger) tidy(owner identity.AMID) {
	b := l.boxes[owner]
	if len(b.entries) == 0 {
		b.entries = nil
	}
	if len(b.taken) == 0 {
		b.taken = nil
	}
	if b.entries == nil && b.taken == nil && b.empty() {
		delete(l.boxes, owner)
	}
}

// of gives what is known of a mailbox; an unknown one is empty.
func (l *ledger) of(owner identity.AMID) box {
	if b := l.boxes[owner]; b != nil {
		return *b
	}
	return box{}
}

// after is the rows behind a cursor. The slice belongs to the ledger.
func (b *box) after(c Cursor) []entry {
	i, _ := slices.BinarySearchFunc(b.entries, c+1, compareCursor)
	return b.entries[i:]
}

func compareCursor(e entry, c Cursor) int { return cmp.Compare(e.cursor, c) }

// find gives the row with a cursor.
func (b *box) find(c Cursor) (entry, bool) {
	if rest := b.after(c - 1); len(rest) > 0 && rest[0].cursor == c {
		return rest[0], true
	}
	return entry{}, false
}

// oldest is the cursors of at most n messages that can be taken now.
func (b *box) oldest(n int, now int64, not map[Cursor]bool) []Cursor {
	var cursors []Cursor
	for i := range b.entries {
		e := &b.entries[i]
		if len(cursors) == n {
			break
		}
		if !e.flags.has(flagNotice) && e.due > now && !not[e.cursor] {
			cursors = append(cursors, e.cursor)
		}
	}
	return cursors
}

// pending counts the messages whose time is not over.
func (b *box) pending(now int64) int {
	n := 0
	for i := range b.entries {
		if e := &b.entries[i]; !e.flags.has(flagNotice) && e.due > now {
			n++
		}
	}
	return n
}

// place is where a row is.
type place struct {
	owner  identity.AMID
	cursor Cursor
}

// overdue lists rows and names whose time is over, owner by owner.
func (l *ledger) overdue(now int64) []place {
	var due []place
	for owner, b := range l.boxes {
		for _, entries := range [][]entry{b.entries, b.taken} {
			for i := range entries {
				if entries[i].due <= now {
					due = append(due, place{owner, entries[i].cursor})
				}
			}
		}
	}
	return due
}

// forgotten lists owners without rows who have not been here for so long.
func (l *ledger) forgotten(now int64) []identity.AMID {
	var owners []identity.AMID
	for owner, b := range l.boxes {
		if l.isForgotten(b, now) {
			owners = append(owners, owner)
		}
	}
	return owners
}

func (l *ledger) isForgotten(b *box, now int64) bool {
	return len(b.entries) == 0 && len(b.taken) == 0 && now-b.seen > l.limits.ForgetBox.Microseconds()
}

// mayRemember reports whether one more owner can be remembered.
func (l *ledger) mayRemember(owner identity.AMID) bool {
	return l.boxes[owner] != nil || len(l.boxes) < l.limits.Boxes
}

// allow puts an allow list in force; that there is one is remembered apart.
func (l *ledger) allow(owner identity.AMID, list *AllowList) error {
	if list != nil && (list.Len() > l.limits.AllowEntries || !l.mayRemember(owner)) {
		return ErrList
	}
	return l.lists.set(owner, list)
}

func (l *ledger) stats() Stats {
	return Stats{
		Boxes: len(l.boxes), Messages: l.total.Messages, Bytes: l.total.Bytes,
		Strangers: l.strangers, Notices: l.notices, Taken: l.taken,
	}
}
