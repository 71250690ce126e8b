package session1_test

import (
	"testing"
	"testing/cryptotest"
	"time"

	"github.com/google/go-cmp/cmp"

	"amesh/identity"
	"amesh/internal/content"
	"amesh/knock"
)

// rounds is how often every kind of object is made, damaged and read.
const rounds = 150

// Both implementations read every object alike, field by field, and refuse the
// same ones when bytes were changed, even by somebody who can sign what he
// changed.
func TestWithPythonObjects(t *testing.T) {
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
		r.contents()
		r.published()
		r.knocks(newPythonSide(p, d, now))
		if t.Failed() {
			return
		}
	}
}

// reader compares what the two read. It signs with the keys of g.
type reader struct {
	t      *testing.T
	dice   *dice
	python *python
	g      *goSide
}

// alike gives bytes to both: read is Go's reading of them. With which code they
// are refused is not compared, as nobody says which of two faults is seen first.
func (r *reader) alike(what string, raw []byte, more args, read func([]byte) (any, error)) {
	r.t.Helper()
	question := args{"what": what, "data": hexed(raw)}
	for name, v := range more {
		question[name] = v
	}
	got := r.python.try("read", question)
	want, err := read(raw)
	if (codeOf(r.t, err) == "") != (got.Refused == "") {
		r.t.Errorf("%s: Go %v, Python %s\n%x", what, err, got.Why, raw)
	} else if diff := cmp.Diff(asJSON(r.t, want), got.OK); diff != "" {
		r.t.Errorf("%s (-Go +Python):\n%s", what, diff)
	}
}

// signed gives a signed object to both, whole and with one place of what is
// signed changed.
func (r *reader) signed(what string, tag identity.Tag, raw []byte, more args, read func([]byte) (any, error)) {
	r.t.Helper()
	r.alike(what, raw, more, read)
	for range 3 {
		body := r.dice.damage(raw[:len(raw)-identity.SignatureSize])
		r.alike(what, append(body, r.g.key.Sign(tag, body)...), more, read)
	}
}

func (r *reader) contents() {
	r.t.Helper()
	read := func(b []byte) (any, error) {
		c, err := content.Parse(b)
		if err != nil {
			return nil, err
		}
		return contentFields(c), nil
	}
	q := r.dice.request()
	for _, c := range []content.Content{&q, r.dice.answer(r.dice.hash()), r.dice.content()} {
		raw := must(c.Encode())(r.t)
		r.alike("content", raw, nil, read)
		for range 10 {
			r.alike("content", r.dice.damage(raw), nil, read)
		}
	}
}

func (r *reader) published() {
	r.t.Helper()
	key := r.g.key.Public()
	r.signed("certificate", identity.TagKeyCertificate, r.g.certificate, args{"signer": hexed(key[:])}, func(b []byte) (any, error) {
		c, err := identity.ParseKeyCertificate(b, key)
		if err != nil {
			return nil, err
		}
		return certificateFields(*c, signatureOf(b)), nil
	})
	r.signed("bundle", identity.TagBundle, r.g.bundle.Raw(), nil, func(b []byte) (any, error) {
		x, err := identity.ParseBundle(b)
		if err != nil {
			return nil, err
		}
		return bundleFields(x, b[81:81+identity.KeyCertificateSize]), nil
	})
	readOneTime := func(b []byte) (any, error) {
		k, err := identity.ParseOneTimeKey(b, key)
		if err != nil {
			return nil, err
		}
		return oneTimeFields(k, b), nil
	}
	o := r.g.offer(true, true)
	for _, raw := range [][]byte{o.oneTime, o.kem} {
		r.signed("one_time", identity.TagOneTimeKey, raw, args{"signer": hexed(key[:])}, readOneTime)
	}
	r.record()
}

func (r *reader) record() {
	r.t.Helper()
	d := r.dice
	created := r.g.before()
	raw := must(identity.SignRecord(r.g.key, identity.AgentRecord{
		Sequence: d.u64(), Created: created, Expires: created.Add(time.Duration(1+d.IntN(86400)) * time.Second),
		Relays: d.list(identity.MaxRelays, 255), PeerIDs: d.list(identity.MaxPeerIDs, 255), Addresses: d.list(identity.MaxAddresses, 100),
	}, r.g.bundle.Raw()))(r.t)
	r.signed("record", identity.TagAgentRecord, raw, nil, func(b []byte) (any, error) {
		x, err := identity.ParseAgentRecord(b)
		if err != nil {
			return nil, err
		}
		return recordFields(x), nil
	})
}

// knocks are those of Go's side, looked at without B's keys.
func (r *reader) knocks(b *pythonSide) {
	r.t.Helper()
	now := r.g.now
	_, a := r.g.ask(b.offer(r.dice.oneIn(2), r.dice.oneIn(2)), r.dice.request(), now, now.Add(time.Hour))
	r.signed("knock", identity.TagKnock, a.env, args{"now": now.Unix()}, func(raw []byte) (any, error) {
		k, err := knock.ParseKnock(raw)
		if err != nil {
			return nil, err
		}
		if err := k.CheckTimes(now); err != nil {
			return nil, err
		}
		if err := k.VerifySignature(); err != nil {
			return nil, err
		}
		return knockFields(k, raw), nil
	})
}
