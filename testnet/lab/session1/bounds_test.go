package session1_test

import (
	"fmt"
	"testing"
	"time"

	"amesh/internal/content"
	"amesh/ratchet"
)

// At every bound of session.md §6 the last message that is within it opens and
// the next does not, whoever asked and whoever sends.
func TestWithPythonBounds(t *testing.T) {
	needsPython(t)
	p := startPython(t)
	names := [2]string{"Go", "Python"}
	for name, bound := range map[string]func(*conversation, int){
		"as far ahead as may be":   (*conversation).farAhead,
		"as many keys as may be":   (*conversation).manyKeys,
		"as old as may be":         (*conversation).oldKeys,
		"as many chains as may be": (*conversation).manyChains,
		"as long a rest as may be": (*conversation).longRest,
	} {
		for asker := range 2 {
			for from := range 2 {
				t.Run(fmt.Sprintf("%s, %s asked, %s sends", name, names[asker], names[from]), func(t *testing.T) {
					p.t = t
					c := newMeeting(t, p, newDice(1)).begin(asker, [32]byte{})
					for _, tail := range c.ways[asker].sealed {
						c.taken(asker, tail)
					}
					c.taken(1-asker, c.short(1-asker))
					bound(c, from)
				})
			}
		}
	}
}

// short seals a content that costs little.
func (c *conversation) short(from int) *letter {
	c.t.Helper()
	return c.sealContent(from, &content.Close{Reason: content.CloseDone})
}

// lose seals what never arrives.
func (c *conversation) lose(from, count int) {
	c.t.Helper()
	for range count {
		c.ways[from].sent()
	}
	c.lines[from].sealMany(&content.Close{Reason: content.CloseDone}, count)
}

// refused brings a letter that must not open, and taken one that must.
func (c *conversation) refused(from int, l *letter, want error) {
	c.t.Helper()
	c.expect(from, l, want.Error())
}

func (c *conversation) taken(from int, l *letter) {
	c.t.Helper()
	c.expect(from, l, "")
}

// expect holds the model to what a test means to show, and both sides to the
// model.
func (c *conversation) expect(from int, l *letter, want string) {
	c.t.Helper()
	model := c.ways[from].numbers
	model.stored = append([]storedNumber{}, model.stored...)
	if code, _ := model.arrives(l.number, l.pn, c.now); code != want {
		c.t.Fatalf("message %d of chain %d: the model says %q, want %q", l.n, l.chain, code, want)
	}
	c.receive(from, l)
}

// turnOf has both sides open a message of the other, so that from's next message
// is the first of a new chain.
func (c *conversation) turnOf(from int) {
	c.t.Helper()
	c.taken(from, c.short(from))
	c.taken(1-from, c.short(1-from))
}

func (c *conversation) farAhead(from int) {
	c.taken(from, c.short(from))
	c.lose(from, ratchet.MaxSkip)
	near, far := c.short(from), c.short(from)
	c.refused(from, far, ratchet.ErrSkipLimit)
	c.taken(from, near)
	c.taken(from, far)
	c.turnOf(from)
	c.lose(from, ratchet.MaxSkip)
	near, far = c.short(from), c.short(from)
	c.refused(from, far, ratchet.ErrSkipLimit)
	c.taken(from, near)
}

func (c *conversation) manyKeys(from int) {
	c.turnOf(from)
	first, second, third := c.short(from), c.short(from), c.short(from)
	c.lose(from, ratchet.MaxSkip-3)
	c.taken(from, c.short(from))
	c.lose(from, ratchet.MaxSkip)
	c.taken(from, c.short(from))
	if n := len(c.ways[from].stored); n != ratchet.MaxSkipped {
		c.t.Fatalf("%d keys are stored", n)
	}
	c.taken(from, first)
	c.lose(from, 2)
	c.taken(from, c.short(from))
	c.refused(from, second, ratchet.ErrDuplicate)
	c.taken(from, third)
}

func (c *conversation) oldKeys(from int) {
	for _, wait := range []func(){func() {}, func() { c.turnOf(from) }} {
		c.turnOf(from)
		first, second, third := c.short(from), c.short(from), c.short(from)
		c.taken(from, third)
		wait()
		c.now = c.now.Add(ratchet.SkippedLife)
		c.taken(from, first)
		c.now = c.now.Add(time.Second)
		c.refused(from, second, ratchet.ErrDuplicate)
		c.taken(from, c.short(from))
		c.receive(from, second)
	}
}

func (c *conversation) manyChains(from int) {
	var late []*letter
	for range ratchet.MaxSkippedChains + 1 {
		c.turnOf(from)
		late = append(late, c.short(from))
		c.taken(from, c.short(from))
	}
	c.refused(from, late[0], ratchet.ErrDecrypt)
	for _, l := range late[1:] {
		c.taken(from, l)
	}
}

// longRest leaves the end of a chain out: the next one says how long it was.
func (c *conversation) longRest(from int) {
	for _, over := range []int{0, 1} {
		c.turnOf(from)
		c.taken(from, c.short(from))
		c.lose(from, ratchet.MaxSkip+over)
		c.taken(1-from, c.short(1-from)) // from turns
		if over == 0 {
			c.taken(from, c.short(from))
			continue
		}
		c.refused(from, c.short(from), ratchet.ErrSkipLimit)
	}
}
