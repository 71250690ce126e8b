package knock

import (
	"bytes"
	"fmt"
	"io"
	"math/rand/v2"
	"slices"
	"testing"
)

// recording is a session at both ends, from right after message 0, with everything
// that was sealed, lost and opened.
type recording struct {
	Name  string                 `json:"name"`
	AD    hexBytes               `json:"AD"`
	Start map[string]*modelState `json:"start"` // of A and of B
	Steps []step                 `json:"steps"`
	End   map[string]*modelState `json:"end"`
}

// step is one thing that happens. In order of op:
//
//	seal: by seals plaintext with nonces; the envelope is the result.
//	lose: by seals count messages of no bytes that never arrive.
//	open: by opens, at a time, the envelope of an earlier step, or the one written
//	here. If it begins a new chain, ratchet_key becomes DHs. The result is an error's
//	code or empty, and then plaintext, N and new_chain.
type step struct {
	Op         string   `json:"op"`
	By         string   `json:"by"`
	Count      int      `json:"count,omitempty"`
	Plaintext  hexBytes `json:"plaintext,omitempty"`
	Nonces     hexBytes `json:"nonces,omitempty"`
	Envelope   hexBytes `json:"envelope,omitempty"`
	EnvelopeID hexBytes `json:"envelope_id,omitempty"`
	Of         *int     `json:"of_step,omitempty"`
	At         int64    `json:"at,omitempty"`
	RatchetKey hexBytes `json:"ratchet_key,omitempty"`
	Error      string   `json:"error,omitempty"`
	N          *uint32  `json:"N,omitempty"`
	NewChain   bool     `json:"new_chain,omitempty"`
}

// recorder plays both ends with the model and writes down what they do.
type recorder struct {
	t     *testing.T
	r     io.Reader
	rec   *recording
	sides map[string]*modelState
	now   int64
}

func record(t *testing.T, name string, h *handshake) *recorder {
	t.Helper()
	a := h.ABefore.clone()
	a.seal(3, h.TH0, h.Nonces0, h.Request)
	rec := &recorder{
		t: t, r: seeded("session: " + name), now: noon.Unix(),
		sides: map[string]*modelState{"A": a, "B": h.BAfter.clone()},
	}
	rec.rec = &recording{Name: name, AD: h.AD, Start: rec.images()}
	return rec
}

func (r *recorder) images() map[string]*modelState {
	return map[string]*modelState{"A": r.sides["A"].clone(), "B": r.sides["B"].clone()}
}

func (r *recorder) done() *recording {
	r.rec.End = r.images()
	return r.rec
}

// seal returns the number of the step.
func (r *recorder) seal(by, text string) int {
	s := step{Op: "seal", By: by, Plaintext: hexBytes(text), Nonces: take(r.t, r.r, 48)}
	n := r.sides[by].Ns
	s.N = &n
	s.Envelope = r.sides[by].seal(2, r.rec.AD, s.Nonces, s.Plaintext).Envelope
	s.EnvelopeID = modelHash(s.Envelope)[:16]
	r.rec.Steps = append(r.rec.Steps, s)
	return len(r.rec.Steps) - 1
}

func (r *recorder) lose(by string, count int) {
	for range count {
		r.sides[by].CKs = modelHMAC(r.sides[by].CKs, 2)
		r.sides[by].Ns++
	}
	r.rec.Steps = append(r.rec.Steps, step{Op: "lose", By: by, Count: count})
}

// open opens the envelope of a step; want is the code that is to come of it.
func (r *recorder) open(by string, of int, want string) {
	r.t.Helper()
	s := step{Of: &of}
	r.result(by, s, r.rec.Steps[of].Envelope, want)
}

// forge opens an envelope that nobody sealed.
func (r *recorder) forge(by string, env []byte, want string) {
	r.t.Helper()
	r.result(by, step{Envelope: env}, env, want)
}

func (r *recorder) result(by string, s step, env []byte, want string) {
	r.t.Helper()
	s.Op, s.By, s.At = "open", by, r.now
	fresh := take(r.t, r.r, 32)
	got := r.sides[by].open(2, r.rec.AD, fresh, r.now, env)
	if got.Code != want {
		r.t.Fatalf("%s, step %d: got %q, want %q", r.rec.Name, len(r.rec.Steps), got.Code, want)
	}
	if s.Error = got.Code; s.Error == "" {
		s.Plaintext, s.N, s.NewChain = got.Plaintext, &got.N, got.NewChain
	}
	if got.NewChain {
		s.RatchetKey = fresh
	}
	r.rec.Steps = append(r.rec.Steps, s)
}

// turn is one message each way, so that both are in new chains.
func (r *recorder) turn() {
	r.t.Helper()
	r.open("A", r.seal("B", "there"), "")
	r.open("B", r.seal("A", "and back"), "")
}

const (
	duplicate = "duplicate_or_expired"
	decrypt   = "decrypt_failed"
	skipLimit = "skip_limit"
)

func recordings(t *testing.T) []*recording {
	t.Helper()
	h := newHandshake(t, "both one-time keys", true, true)
	h.ask(t, false)
	h.answer(t)
	var all []*recording
	for name, play := range pairs(map[string]func(r *recorder){
		"in order":                   playInOrder,
		"out of order":               playOutOfOrder,
		"before any reply":           playBeforeReply,
		"crossing rounds":            playCrossing,
		"repeats":                    playRepeats,
		"forgeries":                  playForgeries,
		"skip limits":                playSkipLimits,
		"keys that grow old":         playOldKeys,
		"more chains than are kept":  playChains,
		"more keys than are kept":    playKeys,
		"a hundred and fifty throws": playDice,
	}) {
		r := record(t, name, h)
		play(r)
		all = append(all, r.done())
	}
	return all
}

func playInOrder(r *recorder) {
	for i, by := range []string{"B", "A", "B", "B", "A", "A", "A", "B"} {
		r.open(other(by), r.seal(by, fmt.Sprint("message ", i)), "")
	}
}

func other(by string) string {
	if by == "A" {
		return "B"
	}
	return "A"
}

func playOutOfOrder(r *recorder) {
	var sent []int
	for i := range 6 {
		sent = append(sent, r.seal("A", fmt.Sprint(i)))
	}
	for _, i := range []int{5, 0, 3, 4, 1} {
		r.open("B", sent[i], "")
	}
	r.turn()
	r.open("B", sent[2], "") // of the chain before
}

func playBeforeReply(r *recorder) {
	first, second, third := r.seal("A", "first"), r.seal("A", "second"), r.seal("A", "third")
	pending, accept := r.seal("B", "pending"), r.seal("B", "accept")
	r.open("B", third, "")
	r.open("A", accept, "")
	r.open("A", pending, "")
	late := r.seal("A", "in the second chain")
	r.open("B", late, "")
	r.open("B", first, "")
	r.open("B", second, "")
}

func playCrossing(r *recorder) {
	var left [2]int
	for round := range 6 {
		a1, b1 := r.seal("A", fmt.Sprint("A ", round, " first")), r.seal("B", fmt.Sprint("B ", round, " first"))
		a2, b2 := r.seal("A", fmt.Sprint("A ", round, " second")), r.seal("B", fmt.Sprint("B ", round, " second"))
		r.open("A", b2, "")
		r.open("B", a2, "")
		if round%2 == 0 {
			r.open("A", b1, "")
			r.open("B", a1, "")
		} else {
			left = [2]int{a1, b1}
		}
	}
	r.open("B", left[0], "")
	r.open("A", left[1], "")
}

func playRepeats(r *recorder) {
	one, two, three := r.seal("A", "one"), r.seal("A", "two"), r.seal("A", "three")
	r.open("B", one, "")
	r.open("B", one, duplicate) // no key is stored in this chain
	r.open("B", three, "")
	r.open("B", one, duplicate)
	r.open("B", three, duplicate)
	r.turn()
	r.open("B", three, duplicate) // the chain has a key left
	r.open("B", two, "")
	r.open("B", two, decrypt) // and now is forgotten
	r.open("B", three, decrypt)
	r.open("A", one, decrypt) // its own
}

func playForgeries(r *recorder) {
	env := func(of int) []byte { return bytes.Clone(r.rec.Steps[of].Envelope) }
	late := r.seal("A", "late")
	seen := r.seal("A", "seen")
	for _, at := range []int{0, 4, 5, 6, 50, 87, 88, 200, 383} {
		x := env(seen)
		x[at] ^= 0x20
		want := decrypt
		if at < 6 {
			want = "malformed"
		}
		r.forge("B", x, want)
	}
	swapped := append(env(late)[:88], env(seen)[88:]...)
	r.forge("B", swapped, decrypt)
	r.forge("B", env(seen)[:383], "malformed")
	r.forge("B", append(env(seen), 0), "malformed")
	r.forge("B", append(env(seen), make([]byte, 256)...), decrypt)
	r.open("B", seen, "")
	stored := env(late)
	stored[100] ^= 1
	r.forge("B", stored, decrypt) // the stored key outlives it
	r.open("B", late, "")
	r.open("A", r.seal("B", "turn"), "")
	next := r.seal("A", "a new chain")
	moved := env(next)
	moved[300] ^= 1
	r.forge("B", moved, decrypt) // no step is made for it
	r.open("B", next, "")
}

func playSkipLimits(r *recorder) {
	r.lose("A", 1000)
	near := r.seal("A", "1,000 ahead")
	far := r.seal("A", "1,001 ahead")
	r.open("B", far, skipLimit)
	r.open("B", near, "")
	r.open("B", far, "")
	r.lose("A", 1001) // at the end of this chain
	r.open("A", r.seal("B", "turn"), "")
	r.open("B", r.seal("A", "PN is 1,001 ahead"), skipLimit)
}

func playOldKeys(r *recorder) {
	one, two := r.seal("A", "one"), r.seal("A", "two")
	r.open("B", r.seal("A", "seen"), "")
	r.now += 7 * 86400
	r.open("B", one, "") // after exactly 7 days
	r.now++
	r.open("B", two, duplicate)
	r.open("B", r.seal("A", "goes on"), "")
}

func playChains(r *recorder) {
	var lost []int
	for i := range 66 {
		lost = append(lost, r.seal("A", fmt.Sprint("lost ", i)))
		r.open("B", r.seal("A", "seen"), "")
		r.open("A", r.seal("B", "turn"), "")
	}
	r.open("B", lost[0], decrypt)
	r.open("B", lost[1], decrypt)
	for i := 2; i < 66; i++ {
		r.open("B", lost[i], "")
	}
}

func playKeys(r *recorder) {
	first := r.seal("A", "the oldest")
	r.lose("A", 999)
	r.open("B", r.seal("A", "a thousand"), "")
	r.lose("A", 1000)
	r.open("B", r.seal("A", "two thousand"), "")
	second := r.seal("A", "one more")
	r.open("B", r.seal("A", "over the limit"), "")
	r.open("B", first, duplicate)
	r.open("B", second, "")
}

// playDice is a conversation over a bad line.
func playDice(r *recorder) {
	d := rand.New(rand.NewPCG(1, 2))
	var flying [2][]int
	for i := range 150 {
		to := d.IntN(2)
		by, at := "AB"[1-to:][:1], "AB"[to:][:1]
		if len(flying[to]) == 0 || d.IntN(5) < 2 && len(flying[to]) < 8 {
			flying[to] = append(flying[to], r.seal(by, fmt.Sprint("throw ", i)))
			continue
		}
		at0 := d.IntN(len(flying[to]))
		of := flying[to][at0]
		before := r.sides[at].clone()
		got := before.open(2, r.rec.AD, make([]byte, 32), r.now, r.rec.Steps[of].Envelope)
		r.open(at, of, got.Code)
		if d.IntN(6) > 0 { // else it comes again
			flying[to] = slices.Delete(flying[to], at0, at0+1)
		}
	}
}

func TestVectorsSessions(t *testing.T) {
	about := "Sessions recorded at both ends, from right after message 0 (session.md §6). Package ratchet replays them."
	for _, rec := range compare(t, "sessions.json", about, recordings(t)) {
		if len(rec.Steps) == 0 || rec.Start["A"] == nil || rec.End["B"] == nil {
			t.Errorf("%s is empty", rec.Name)
		}
	}
}

// message is the encryption of one message, with what is on the way.
type message struct {
	Name       string   `json:"name"`
	Type       uint8    `json:"type"`
	HKs        hexBytes `json:"HKs"`
	CKs        hexBytes `json:"CKs"`
	DHs        hexBytes `json:"DHs"`
	PN         uint32   `json:"PN"`
	N          uint32   `json:"N"`
	AD         hexBytes `json:"AD"` // th0 for message 0
	Plaintext  hexBytes `json:"plaintext"`
	ThenZeros  int      `json:"then_zeros,omitempty"` // bytes of the plaintext after that
	Nonces     hexBytes `json:"nonces"`               // of the header, then of the body
	MessageKey hexBytes `json:"message_key"`
	NextCKs    hexBytes `json:"CKs_after"`
	Header     hexBytes `json:"header"`
	EH         hexBytes `json:"EH"`
	Padded     int      `json:"padded_length"`
	Envelope   hexBytes `json:"envelope"` // null where it is long
	Hash       hexBytes `json:"envelope_hash"`
	EnvelopeID hexBytes `json:"envelope_id"`
}

func TestVectorsMessages(t *testing.T) {
	r := seeded("messages")
	var made []message
	add := func(name string, kind uint8, pn, n uint32, text []byte, zeros int) {
		m := message{
			Name: name, Type: kind, HKs: take(t, r, 32), CKs: take(t, r, 32), DHs: take(t, r, 32), PN: pn, N: n, AD: take(t, r, 32),
			Plaintext: append(hexBytes{}, text...), ThenZeros: zeros, Nonces: take(t, r, 48),
		}
		s := &modelState{HKs: m.HKs, CKs: m.CKs, DHs: m.DHs, PN: pn, Ns: n}
		out := s.seal(kind, m.AD, m.Nonces, append(bytes.Clone(text), make([]byte, zeros)...))
		m.MessageKey, m.NextCKs, m.Header, m.EH, m.Padded = out.MessageKey, s.CKs, out.Header, out.EH, len(out.Body)-40
		m.Hash = modelHash(out.Envelope)
		if m.EnvelopeID = m.Hash[:16]; len(out.Envelope) < 1000 {
			m.Envelope = out.Envelope
		}
		made = append(made, m)
	}
	add("message 0", 3, 0, 0, []byte("a request"), 0)
	add("nothing", 2, 0, 1, nil, 0)
	add("one byte", 2, 0, 2, []byte{0xFF}, 0)
	add("zero byte", 2, 0, 3, []byte{0}, 0)
	add("last number there is", 2, 1<<32-1, 1<<32-2, []byte("x"), 0)
	for _, size := range []int{252, 253, 508, 509, 1084, 1085, 2044, 2045, 4092, 4093, 4604, 4605, 8188, 8189, 9212, 16380, 16381, 18428, 32764, 32765, 36860, 40956, 45052} {
		add(fmt.Sprintf("%d bytes", size), 2, 7, uint32(size), []byte("begins so"), size-9)
	}
	about := "Messages, one by one: header, sealed header, padding and body (session.md §4.3 and §6). Package ratchet seals and opens them."
	for _, m := range compare(t, "messages.json", about, made) {
		if got := len(modelPad(make([]byte, len(m.Plaintext)+m.ThenZeros))); got != m.Padded {
			t.Errorf("%s: padded to %d, want %d", m.Name, got, m.Padded)
		}
	}
}
