package session1_test

import (
	"flag"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"

	"amesh/internal/content"
	"amesh/ratchet"
)

var seed = flag.Uint64("seed", 0, "the seed of a random test; 0: a new one")

// seedOf is the seed that was asked for, else a new one.
func seedOf(t *testing.T) uint64 {
	t.Helper()
	if *seed != 0 {
		return *seed
	}
	return rand.Uint64()
}

// latest is the last second that a time on the wire may have.
const latest = 253402300799

// dice throws everything a test chooses, from one seed.
type dice struct {
	*rand.Rand
	source *rand.ChaCha8
}

func newDice(seed uint64) *dice {
	var key [32]byte
	for i := range 8 {
		key[i] = byte(seed >> (8 * i))
	}
	source := rand.NewChaCha8(key)
	return &dice{Rand: rand.New(source), source: source}
}

// Read makes dice a source of randomness for keys.
func (d *dice) Read(b []byte) (int, error) { return d.source.Read(b) }

func (d *dice) bytes(n int) []byte {
	b := make([]byte, n)
	d.source.Read(b)
	return b
}

// oneIn is true once in n throws.
func (d *dice) oneIn(n int) bool { return d.IntN(n) == 0 }

// upTo is 0 to n, small numbers and n itself more often than the rest.
func (d *dice) upTo(n int) int {
	switch d.IntN(8) {
	case 0:
		return 0
	case 1:
		return n
	case 2:
		return d.IntN(n + 1)
	}
	return d.IntN(min(n, 40) + 1)
}

// text is valid UTF-8 of at least one and at most most bytes without control
// characters.
func (d *dice) text(most int) string {
	letters := []rune("az09 ._-/é€😀\u0080\u00a0\ufffd")
	var b strings.Builder
	for want := max(1, d.upTo(most)); b.Len() < want; {
		if r := letters[d.IntN(len(letters))]; b.Len()+len(string(r)) <= most {
			b.WriteRune(r)
		}
	}
	return b.String()
}

// maybe is text, or none.
func (d *dice) maybe(most int) string {
	if d.oneIn(3) {
		return ""
	}
	return d.text(most)
}

func (d *dice) intent() string {
	const letters = "abcxyz0189._-"
	b := make([]byte, max(1, d.upTo(content.MaxIntent)))
	for i := range b {
		b[i] = letters[d.IntN(len(letters))]
		if i > 0 && i < len(b)-1 && b[i-1] != '/' && d.oneIn(8) {
			b[i] = '/'
		}
	}
	return string(b)
}

func (d *dice) list(count, size int) []string {
	var l []string
	for range d.upTo(count) {
		l = append(l, d.text(size))
	}
	return l
}

func (d *dice) u64() uint64 { return d.Uint64() >> d.IntN(64) }
func (d *dice) u32() uint32 { return d.Uint32() >> d.IntN(32) }

// sequence is a u64 that is not 0.
func (d *dice) sequence() uint64 { return max(1, d.u64()) }

// seconds is any time that the wire can carry.
func (d *dice) seconds() time.Time {
	switch d.IntN(6) {
	case 0:
		return time.Unix(0, 0).UTC()
	case 1:
		return time.Unix(latest, 0).UTC()
	}
	return time.Unix(d.Int64N(latest+1), 0).UTC()
}

func (d *dice) millis() time.Time {
	return d.seconds().Add(time.Duration(d.IntN(1000)) * time.Millisecond)
}

func (d *dice) hash() [32]byte { return [32]byte(d.bytes(32)) }

func (d *dice) envelopes(most int) []ratchet.ID {
	var l []ratchet.ID
	for range d.upTo(most) {
		l = append(l, ratchet.ID(d.bytes(16)))
	}
	return l
}

// uuid may be none where the field is one that may be.
func (d *dice) uuid(none bool) uuid.UUID {
	if none && d.oneIn(2) {
		return uuid.Nil
	}
	return uuid.UUID(d.bytes(16))
}

func (d *dice) limits() content.Limits {
	return content.Limits{Messages: d.u32(), Bytes: d.u64(), Seconds: d.u32()}
}

func (d *dice) request() content.Request {
	return content.Request{
		Nonce: d.hash(), Intent: d.intent(), SessionType: content.SessionType(1 + d.IntN(3)), Mode: content.Private,
		Limits: d.limits(), Features: d.u32(), Prev: [32]byte{}, FirstSeq: d.sequence(), Resume: d.envelopes(content.MaxResume),
		TierCertificate: d.some(content.MaxTierCertificate), Invite: d.some(content.MaxInvite),
	}
}

// some is bytes, nil when there are none.
func (d *dice) some(most int) []byte {
	if n := d.upTo(most); n > 0 {
		return d.bytes(n)
	}
	return nil
}

func (d *dice) description() content.Description {
	created := time.UnixMilli(d.Int64N(latest * 1000)).UTC()
	life := time.Duration(1+d.Int64N(content.MaxDeadline.Milliseconds())) * time.Millisecond
	if last := time.UnixMilli(latest*1000 + 999).UTC(); created.Add(life).After(last) {
		created = last.Add(-life)
	}
	x := content.Description{
		ID: d.uuid(false), Sequence: d.sequence(), Created: created, Deadline: created.Add(life), Intent: d.intent(),
		Thread: d.maybe(content.MaxThread), ReplyTo: d.uuid(true), ContentType: d.maybe(content.MaxContentType),
	}
	if d.oneIn(2) {
		x.FileName = strings.ReplaceAll("f"+d.maybe(content.MaxFileName-1), "/", "_")
	}
	if d.oneIn(4) {
		x.Signature = d.bytes(64)
	}
	return x
}

// content is one of any type but request, which only a knock carries.
func (d *dice) content() content.Content {
	switch d.IntN(17) {
	case 0:
		return &content.Receipts{Envelopes: d.envelopes(400), Messages: d.receipts()}
	case 1:
		from := d.sequence()
		return &content.Skip{From: from, To: from + d.Uint64N(1+(^uint64(0)-from))}
	case 2:
		return &content.Close{Reason: content.CloseReason(1 + d.IntN(5)), LastSequence: d.u64()}
	case 3:
		return &content.Paths{
			Stamp: d.millis(), PeerIDs: d.list(content.MaxPeerIDs, content.MaxPeerID),
			Addresses: d.list(content.MaxAddresses, content.MaxAddress), Relays: d.list(content.MaxRelays, content.MaxRelay),
		}
	case 4:
		return &content.Unknown{Kind: content.Type(0x40 + d.IntN(0xC0)), Fields: d.some(3000)}
	case 5:
		return d.answer(d.hash())
	case 6:
		return &content.Revocation{Statement: d.bytes([]int{128, 224}[d.IntN(2)])}
	case 7:
		return &content.ICEOffer{Attempt: content.Attempt(d.bytes(16)), Stamp: d.millis(), ICEDescription: d.ice()}
	case 8:
		return &content.ICEAnswer{Attempt: content.Attempt(d.bytes(16)), Stamp: d.millis(), ICEDescription: d.ice()}
	case 9:
		return &content.ICEAnswer{Attempt: content.Attempt(d.bytes(16)), Stamp: d.millis(), Code: content.AnswerCode(1 + d.IntN(5))}
	case 10:
		if d.oneIn(2) {
			return &content.Echo{Nonce: content.Nonce(d.bytes(16))}
		}
		return &content.EchoReply{Nonce: content.Nonce(d.bytes(16))}
	}
	return &content.Message{Description: d.description(), Body: d.some(d.bodySize())}
}

func (d *dice) ice() content.ICEDescription {
	return content.ICEDescription{
		PeerID: "p" + d.maybe(content.MaxPeerID-1), Ufrag: d.iceChars(4, content.MaxUfrag), Password: d.iceChars(22, content.MaxICEPassword),
		Candidates: d.list(content.MaxCandidates, content.MaxCandidate),
	}
}

func (d *dice) iceChars(least, most int) string {
	const all = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"
	b := make([]byte, least+d.IntN(most-least+1))
	for i := range b {
		b[i] = all[d.IntN(len(all))]
	}
	return string(b)
}

func (d *dice) bodySize() int {
	if d.oneIn(10) {
		return content.SliceSize
	}
	return 1000
}

// answer is one of the three to the knock of that hash.
func (d *dice) answer(knock [32]byte) content.Content {
	switch d.IntN(3) {
	case 0:
		return &content.Reject{Knock: knock, Code: content.Busy, RetryAfter: d.u32()}
	case 1:
		return &content.Pending{Knock: knock, Until: d.seconds()}
	}
	return d.accept(knock)
}

func (d *dice) accept(knock [32]byte) *content.Accept {
	c := &content.Accept{
		Knock: knock, SessionType: content.SessionType(1 + d.IntN(3)), Mode: content.Mode(1 + d.IntN(2)), Limits: d.limits(),
		Features: d.u32(), FirstSeq: d.sequence(), GrantExpires: d.seconds(),
	}
	for range d.upTo(content.MaxIntents) {
		c.Intents = append(c.Intents, d.intent())
	}
	return c
}

func (d *dice) receipts() []content.Receipt {
	var l []content.Receipt
	for range d.upTo(100) {
		r := content.Receipt{
			ID: d.uuid(false), State: content.State(1 + d.IntN(5)), At: d.millis(), Text: d.maybe(content.MaxReceiptText),
		}
		if r.State > content.Handled {
			r.Reason = content.Reason(1 + d.IntN(8))
		}
		l = append(l, r)
	}
	return l
}

// damage changes bytes in one place, never into what they were.
func (d *dice) damage(b []byte) []byte {
	at := d.IntN(len(b))
	switch d.IntN(8) {
	case 0:
		return append([]byte{}, b[:at]...)
	case 1:
		return append(append(append([]byte{}, b[:at]...), byte(d.Uint32())), b[at:]...)
	}
	out := append([]byte{}, b...)
	out[at] ^= 1 << d.IntN(8)
	return out
}
