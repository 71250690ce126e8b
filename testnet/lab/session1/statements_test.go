package session1_test

import (
	"bytes"
	"crypto/sha256"
	"testing"
	"testing/cryptotest"
	"time"

	"github.com/google/go-cmp/cmp"

	"amesh/identity"
	"amesh/internal/content"
	"amesh/ratchet"
)

// What an agent says of itself besides its keys: renews, rollback marks and
// revocations, made by either side, whole and damaged, are read alike.
func TestWithPythonStatements(t *testing.T) {
	needsPython(t)
	first := seedOf(t)
	own := first
	defer func() { t.Logf("rounds from -seed %d, the last with -seed %d", first, own) }()
	p := startPython(t)
	for i := range uint64(rounds) {
		own = first + i
		cryptotest.SetGlobalRandom(t, own)
		p.do("seed", args{"seed": own})
		p.do("forget", nil)
		d := newDice(own)
		now := time.Unix(1e9+d.Int64N(1e10), 0).UTC()
		r := &reader{t: t, dice: d, python: p, g: newGoSide(t, d, now)}
		b := newPythonSide(p, d, now)
		r.marks(b)
		r.renews(b)
		r.revocations(b)
		if t.Failed() {
			return
		}
	}
}

func (r *reader) marks(b *pythonSide) {
	r.t.Helper()
	server, reserved := r.dice.maybe(255), r.dice.u64()
	read := func(key identity.PublicKey) func(raw []byte) (any, error) {
		return func(raw []byte) (any, error) {
			m, err := identity.ParseMark(raw, key, server)
			if err != nil {
				return nil, err
			}
			return fields{
				"version": 1, "server": m.Server, "amid": hexed(m.AMID[:]), "epoch": m.Epoch, "reserved": m.Reserved,
				"signature": hexed(signatureOf(raw)),
			}, nil
		}
	}
	key := r.g.key.Public()
	raw := must(identity.SignMark(r.g.key, identity.RollbackMark{Server: server, Epoch: r.dice.u32(), Reserved: reserved}))(r.t)
	r.signed("mark", identity.TagRollbackMark, raw, args{"signer": hexed(key[:]), "server": server}, read(key))

	key = identity.PublicKey(b.field(b.agent, "signing_key"))
	raw = b.bytes(b.do("mark", args{"agent": b.name, "server": server, "reserved": reserved}))
	r.alike("mark", raw, args{"signer": hexed(key[:]), "server": server}, read(key))
}

func (r *reader) renews(b *pythonSide) {
	r.t.Helper()
	read := func(raw []byte) (any, error) {
		t, err := ratchet.ParsePrefix(raw)
		if err != nil {
			return nil, err
		}
		if t != ratchet.TypeRenew {
			return nil, ratchet.ErrMalformed
		}
		n, err := identity.ParseRenew(raw, ratchet.PrefixSize)
		if err != nil {
			return nil, err
		}
		return fields{
			"prefix": hexed(raw[:ratchet.PrefixSize]), "from": hexed(n.From[:]), "to": hexed(n.To[:]), "knock_hash": hexed(n.Knock[:]),
			"code": n.Code, "bundle": hexed(n.Bundle.Raw()), "signature": hexed(signatureOf(raw)),
		}, nil
	}
	prefix, hash := ratchet.Prefix(ratchet.TypeRenew), r.dice.hash()
	to := identity.AMID(r.dice.bytes(identity.AMIDSize))
	code := identity.RenewCode(1 + r.dice.IntN(4))
	raw := must(identity.SignRenew(r.g.key, prefix[:], identity.Renew{To: to, Knock: hash, Code: code, Bundle: r.g.bundle}))(r.t)
	r.signed("renew", identity.TagRenew, raw, nil, read)
	raw = b.bytes(b.do("renew", args{
		"agent": b.name, "to": hexed(to[:]), "knock_hash": hexed(hash[:]), "code": code, "bundle": hexed(b.bundle),
	}))
	r.alike("renew", raw, nil, read)
}

func (r *reader) revocations(b *pythonSide) {
	r.t.Helper()
	read := func(raw []byte) (any, error) {
		v, err := identity.ParseRevocation(raw)
		if err != nil {
			return nil, err
		}
		f := fields{
			"version": 1, "amid": hexed(v.AMID[:]), "signing_key": hexed(v.SigningKey[:]), "issued": v.Issued.Unix(), "reason": v.Reason,
			"successor": "", "signature": hexed(raw[63:127]), "consent": "",
		}
		if v.HasSuccessor() {
			f["successor"], f["signature"], f["consent"] = hexed(v.Successor[:]), hexed(raw[95:159]), hexed(raw[160:])
		}
		return f, nil
	}
	v := identity.Revocation{SigningKey: r.g.key.Public(), Issued: r.dice.seconds(), Reason: identity.RevocationReason(1 + r.dice.IntN(3))}
	alone := must(identity.SignRevocation(r.g.key, v, nil))(r.t)
	successor := must(identity.GenerateKey(r.dice))(r.t)
	v.Successor = successor.Public()
	consent := must(identity.SignSuccessor(successor, v))(r.t)
	followed := must(identity.SignRevocation(r.g.key, v, consent))(r.t)
	for size, raw := range map[int][]byte{63: alone, 95: followed} {
		r.alike("revocation", raw, nil, read)
		for range 3 {
			r.alike("revocation", r.dice.damage(raw), nil, read)
			body := r.dice.damage(raw[:size])
			again := append(bytes.Clone(body), r.g.key.Sign(identity.TagRevocation, body)...)
			if again = append(again, raw[size+64]); size == 95 {
				again = append(again, successor.Sign(identity.TagSuccessor, body)...)
			}
			r.alike("revocation", again, nil, read)
		}
	}
	other := newPythonSide(r.python, r.dice, b.now)
	for _, next := range []any{nil, other.name} {
		r.alike("revocation", b.bytes(b.do("revocation", args{
			"agent": b.name, "issued": v.Issued.Unix(), "reason": v.Reason, "successor": next,
		})), nil, read)
	}
}

// An accept is an answer to a request for both or for none, and a signature that
// one makes for a message in accountable mode the other takes.
func TestWithPythonAccountable(t *testing.T) {
	needsPython(t)
	own := seedOf(t)
	t.Logf("-seed %d repeats this", own)
	p := startPython(t)
	cryptotest.SetGlobalRandom(t, own)
	p.do("seed", args{"seed": own})
	m := newMeeting(t, p, newDice(own))
	c := m.begin(1, [32]byte{})
	g, l := m.sides[0].(*goSide), c.lines[1].(*pythonLine)
	binding := sha256.Sum256(append(p.field(p.do("facts", args{"session": l.id}), "th0"), c.asked.env...))
	for range rounds {
		m.answers()
		d, body := m.dice.description(), m.dice.some(1000)
		d.Signature = nil
		statement := content.Statement(binding, d.Sequence, content.Hash(d, body))
		question := args{"agent": l.name, "session": l.id, "description": descriptionFields(d), "body": hexed(body)}
		signed := p.do("sign_message", question)
		key := must(identity.ParsePublicKey(l.field(l.agent, "signing_key")))(t)
		if err := key.Verify(identity.TagMessage, statement, p.field(signed, "signature")); err != nil {
			t.Errorf("Python's signature: %v", err)
		}
		d.Signature = g.key.Sign(identity.TagMessage, statement)
		hash, own := sha256.Sum256(body), g.key.Public()
		question = args{
			"session": l.id, "mode": content.Accountable, "signer": hexed(own[:]), "description": descriptionFields(d), "body_hash": hexed(hash[:]),
		}
		p.do("check_message_signature", question)
		d.Sequence ^= 1 << 40
		question["description"] = descriptionFields(d)
		if r := p.try("check_message_signature", question); r.Refused != identity.ErrSignature.Error() {
			t.Errorf("signature of another sequence: %q", r.Refused)
		}
	}
}

func (m *meeting) answers() {
	m.t.Helper()
	q, a := m.dice.request(), m.dice.accept(m.dice.hash())
	q.Limits, a.Limits = m.few(), m.few()
	want := a.SessionType == q.SessionType && a.Mode == q.Mode && a.Limits.Within(q.Limits)
	got := m.python.do("answers", args{"request": contentFields(&q), "accept": contentFields(a)})
	if diff := cmp.Diff(want, got); diff != "" {
		m.t.Errorf("accept %+v to request %+v (-Go +Python):\n%s", a, q, diff)
	}
}

// few are limits of which some are equal and some are none.
func (m *meeting) few() content.Limits {
	return content.Limits{Messages: uint32(m.dice.IntN(3)), Bytes: uint64(m.dice.IntN(3)), Seconds: uint32(m.dice.IntN(3))}
}
