// Package session1_test runs the two implementations of session.md against each
// other: the project's, and the one in docs/protocol/reference that was written
// from the text alone.
package session1_test

import (
	"bytes"
	"testing"
	"testing/cryptotest"
	"time"

	"github.com/google/go-cmp/cmp"

	"amesh/identity"
	"amesh/internal/content"
	"amesh/knock"
	"amesh/ratchet"
)

// sessions is how many sessions are run. That takes about a minute.
const sessions = 1000

// Sessions begun by either side, on any network, with every content: what one
// side makes the other opens, to the same fields; what the network changed is
// refused and changes nothing. (T23, T25, T26, T27)
func TestWithPythonSessions(t *testing.T) {
	needsPython(t)
	first := seedOf(t)
	own := first
	defer func() { t.Logf("%d sessions from -seed %d, the last with -seed %d", own-first+1, first, own) }()
	p := startPython(t)
	for i := range uint64(sessions) {
		own = first + i
		cryptotest.SetGlobalRandom(t, own) // the KEM takes its randomness nowhere else
		p.do("seed", args{"seed": own})
		p.do("forget", nil)
		newMeeting(t, p, newDice(own)).run()
		if t.Failed() {
			return
		}
	}
}

// meeting is an agent of each side, and the sessions between the two.
type meeting struct {
	t      *testing.T
	dice   *dice
	now    time.Time
	python *python
	sides  [2]side // Go's and Python's
}

func newMeeting(t *testing.T, p *python, d *dice) *meeting {
	t.Helper()
	m := &meeting{t: t, dice: d, python: p}
	m.now = time.Unix(1e9+d.Int64N(1e10), 0).UTC()
	m.sides = [2]side{newGoSide(t, d, m.now), newPythonSide(p, d, m.now)}
	return m
}

func (m *meeting) run() {
	m.t.Helper()
	first := m.begin(m.dice.IntN(2), [32]byte{})
	if m.dice.oneIn(4) {
		m.bothAtOnce(first)
	}
	first.talk()
}

// begin makes a session: knock, perhaps with a tail, and what the other reads.
func (m *meeting) begin(asker int, prev [32]byte) *conversation {
	m.t.Helper()
	d, b := m.dice, m.sides[1-asker]
	q := d.request()
	q.Prev = prev
	expires := m.now.Add(time.Duration(1+d.Int64N(int64(knock.MaxLife/time.Second))) * time.Second)
	askers, asked := m.sides[asker].ask(b.offer(d.oneIn(2), d.oneIn(2)), q, m.now, expires)
	c := &conversation{meeting: m, asker: asker, asked: asked, request: q}
	c.lines[asker] = askers
	// Message 0 is number 0 of A's first chain.
	c.ways[asker].numbers = numbers{next: number{0, 1}, chain: 0, nr: 1}
	c.ways[1-asker].numbers = numbers{chain: -1}

	env := asked.env
	if d.oneIn(3) {
		tail := c.seal(asker).env
		if len(env)+len(tail) <= ratchet.MaxEnvelope {
			env = append(bytes.Clone(env), tail...)
		}
	}
	m.forgeries(asker, env, len(asked.env))
	answerers, got, code := b.answer(env, m.now)
	if code != "" {
		m.t.Fatalf("knock was refused: %s", code)
	}
	c.lines[1-asker] = answerers
	c.check(got, env)
	return c
}

// forgeries knocks with changed bytes, which must not do anything, not even when
// the asker signed them itself.
func (m *meeting) forgeries(asker int, env []byte, size int) {
	m.t.Helper()
	for m.dice.oneIn(2) {
		forged := m.dice.damage(env)
		if a, ok := m.sides[asker].(*goSide); ok && m.dice.oneIn(2) {
			forged = m.dice.damage(env[:size-identity.SignatureSize])
			forged = append(forged, a.key.Sign(identity.TagKnock, forged)...)
		}
		if bytes.HasPrefix(forged, env[:size]) {
			continue // only the tail, which nobody signed, is another
		}
		if _, _, code := m.sides[1-asker].answer(forged, m.now); code == "" {
			m.t.Fatalf("changed knock was answered: %x", forged)
		}
	}
}

func (c *conversation) check(got answered, env []byte) {
	c.t.Helper()
	if !bytes.Equal(c.asked.hash, got.hash) || !bytes.Equal(c.asked.sid, got.sid) {
		c.t.Errorf("knock hash and sid: asker %x %x, answerer %x %x", c.asked.hash, c.asked.sid, got.hash, got.sid)
	}
	if diff := cmp.Diff(asJSON(c.t, contentFields(&c.request)), got.request); diff != "" {
		c.t.Errorf("request (-asked +answered):\n%s", diff)
	}
	if tail := env[len(c.asked.env):]; !bytes.Equal(tail, got.tail) {
		c.t.Errorf("tail of %d bytes, want %d", len(got.tail), len(tail))
	}
}

// bothAtOnce crosses the knock of a session with one of the other side. Which of
// the two is sent on, both sides see alike.
func (m *meeting) bothAtOnce(first *conversation) {
	m.t.Helper()
	prev := [32]byte{}
	if m.dice.oneIn(3) {
		prev = [32]byte(first.asked.hash)
	}
	second := m.begin(1-first.asker, prev)
	names := make([]string, 2)
	contenders := make([]knock.Contender, 2)
	for i, c := range []*conversation{first, second} {
		names[i] = c.lines[1].(*pythonLine).id
		contenders[i] = knock.Contender{Hash: [32]byte(c.asked.hash), Prev: c.request.Prev}
		m.python.do("accept", args{"session": names[i]})
	}
	want := names[1]
	if contenders[0].Beats(contenders[1]) {
		want = names[0]
	}
	if got := m.python.do("winner", args{"a": names[0], "b": names[1]}); got != want {
		m.t.Errorf("winner: Python %v, Go %s", got, want)
	}
	second.talk()
}

// conversation is one session and the network that it is held over.
type conversation struct {
	*meeting
	asker   int
	asked   asked
	request content.Request
	lines   [2]line
	ways    [2]way // what the side of that number sends
}

// way is one direction: everything that was sealed, and its numbers.
type way struct {
	numbers
	sealed []*letter
}

// letter is a sealed content.
type letter struct {
	number
	pn   uint32
	env  []byte
	want any // its fields
}

// talk answers the knock and then lets both sides say what they like.
func (c *conversation) talk() {
	c.t.Helper()
	c.sealContent(1-c.asker, c.dice.answer([32]byte(c.asked.hash)))
	for range 10 + c.dice.IntN(40) {
		from := c.dice.IntN(2)
		switch n := c.dice.IntN(100); {
		case n < 40:
			c.seal(from)
		case n < 80:
			c.deliver(from)
		case n < 90:
			c.forge(from)
		case n < 94:
			c.now = c.now.Add(time.Duration(c.dice.IntN(4*86400)) * time.Second)
		case n < 96:
			c.burst(from)
		default:
			c.parts(from)
		}
		if c.t.Failed() {
			return
		}
	}
}

func (c *conversation) seal(from int) *letter {
	c.t.Helper()
	return c.sealContent(from, c.dice.content())
}

func (c *conversation) sealContent(from int, x content.Content) *letter {
	c.t.Helper()
	return c.sent(from, c.lines[from].seal(x), asJSON(c.t, contentFields(x)))
}

func (c *conversation) sent(from int, env []byte, want any) *letter {
	w := &c.ways[from]
	l := &letter{env: env, want: want}
	l.number, l.pn = w.sent()
	w.sealed = append(w.sealed, l)
	return l
}

// burst seals so much that bounds are met; most of it is lost.
func (c *conversation) burst(from int) {
	c.t.Helper()
	if !c.dice.oneIn(8) {
		return
	}
	count := 700 + c.dice.IntN(400)
	x := &content.Skip{From: 1, To: 1}
	for range count - 1 {
		c.ways[from].sent()
	}
	c.sent(from, c.lines[from].sealMany(x, count), asJSON(c.t, contentFields(x)))
	c.receive(from, c.ways[from].sealed[len(c.ways[from].sealed)-1])
}

// deliver brings any letter, an old one at times, and mostly one of the last.
func (c *conversation) deliver(from int) {
	c.t.Helper()
	if l := c.letter(from); l != nil {
		c.receive(from, l)
	}
}

func (c *conversation) letter(from int) *letter {
	sealed := c.ways[from].sealed
	if len(sealed) == 0 {
		return nil
	}
	if c.dice.oneIn(4) {
		return sealed[c.dice.IntN(len(sealed))]
	}
	return sealed[max(0, len(sealed)-1-c.dice.IntN(4))]
}

func (c *conversation) receive(from int, l *letter) {
	c.t.Helper()
	wantCode, newChain := c.ways[from].arrives(l.number, l.pn, c.now)
	got, code := c.lines[1-from].open(l.env, c.now)
	if code != wantCode {
		c.t.Errorf("message %d of chain %d: %q, want %q", l.n, l.chain, code, wantCode)
		return
	}
	if code != "" {
		return
	}
	if newChain {
		c.ways[1-from].turn()
	}
	if diff := cmp.Diff(l.want, got); diff != "" {
		c.t.Errorf("content (-sealed +opened):\n%s", diff)
	}
}

// forge brings a letter that was changed on the way.
func (c *conversation) forge(from int) {
	c.t.Helper()
	l := c.letter(from)
	if l == nil {
		return
	}
	if _, code := c.lines[1-from].open(c.dice.damage(l.env), c.now); code == "" {
		c.t.Error("a changed message was opened")
	}
}

// parts cuts a body that needs more than one content with both, and sends a
// part.
func (c *conversation) parts(from int) {
	c.t.Helper()
	if !c.dice.oneIn(10) {
		return
	}
	description, body := c.dice.description(), c.dice.bytes(content.SliceSize+1+c.dice.IntN(150_000))
	if c.dice.oneIn(20) {
		body = c.dice.bytes(content.MaxBody)
	}
	contents := must(content.Split(description, body))(c.t)
	var want []any
	for _, x := range contents {
		want = append(want, asJSON(c.t, contentFields(x)))
	}
	question := args{"description": descriptionFields(description), "body": hexed(body)}
	if diff := cmp.Diff(any(want), c.python.do("split", question)); diff != "" {
		c.t.Errorf("parts (-Go +Python):\n%s", diff)
	}
	hash := content.Hash(description, body)
	if got := c.python.do("content_hash", question); got != hexed(hash[:]) {
		c.t.Errorf("content hash: Python %s, Go %x", got, hash)
	}
	c.dice.Shuffle(len(want), func(i, j int) { want[i], want[j] = want[j], want[i] })
	if got := c.python.do("join", args{"parts": want}); got != hexed(body) {
		c.t.Errorf("joined %d parts: another body", len(want))
	}
	x := contents[c.dice.IntN(len(contents))]
	c.receive(from, c.sealContent(from, x))
}
