package session1_test

import (
	"bytes"
	"crypto/mlkem"
	"errors"
	"fmt"
	"testing"
	"time"

	"amesh/identity"
	"amesh/internal/content"
	"amesh/internal/wire"
	"amesh/knock"
	"amesh/ratchet"
)

// side is one implementation with one agent.
type side interface {
	// offer publishes what somebody needs to knock.
	offer(oneTime, kem bool) *offer
	// ask knocks at the agent of an offer.
	ask(o *offer, q content.Request, issued, expires time.Time) (line, asked)
	// answer opens a knock, or says the code with which it is refused. The agent
	// is then what it was.
	answer(env []byte, now time.Time) (line, answered, string)
}

// line is one end of a session.
type line interface {
	seal(c content.Content) []byte
	// sealMany seals count times and gives the last envelope.
	sealMany(c content.Content, count int) []byte
	// open gives the content's fields or the code with which the envelope is
	// refused. The session is then what it was.
	open(env []byte, now time.Time) (got any, code string)
}

// offer is B's published part of a handshake.
type offer struct {
	bundle  []byte
	oneTime []byte // nil: none
	kem     []byte // one-time KEM key; nil: the last-resort key is used
	kemKey  []byte // the KEM key that A encapsulates to
}

// asked and answered are what both sides must see alike.
type asked struct {
	env  []byte // the knock without tail
	hash []byte
	sid  []byte
}

type answered struct {
	hash    []byte
	sid     []byte
	request any
	tail    []byte
}

// codes are the sentinels of everything that is refused.
var codes = []error{
	wire.ErrMalformed, ratchet.ErrLegacy, ratchet.ErrUnsupported, ratchet.ErrDecrypt, ratchet.ErrDuplicate, ratchet.ErrSkipLimit,
	ratchet.ErrLowOrder, ratchet.ErrKey, ratchet.ErrKEM, identity.ErrKey, identity.ErrKEM, identity.ErrLowOrder,
	identity.ErrMismatch, identity.ErrSignature, identity.ErrBundleExpired,
	knock.ErrWrongRecipient, knock.ErrKnockExpired, knock.ErrPrekeyUnknown,
}

// codeOf is the code of session.md §13 behind an error, "" for none.
func codeOf(t *testing.T, err error) string {
	t.Helper()
	if err == nil {
		return ""
	}
	for _, c := range codes {
		if errors.Is(err, c) {
			return c.Error()
		}
	}
	t.Fatalf("no code for %v", err)
	return ""
}

// keyName is kind and id of a key.
type keyName struct {
	kind identity.KeyKind
	id   uint32
}

// goSide is the project's own code.
type goSide struct {
	t    *testing.T
	dice *dice
	now  time.Time

	key         identity.PrivateKey
	exchange    ratchet.Secret
	certificate []byte
	prekey      ratchet.Secret
	bundle      *identity.Bundle
	kem         map[keyName]ratchet.KEMSeed
	oneTime     map[uint32]ratchet.Secret
}

func newGoSide(t *testing.T, d *dice, now time.Time) *goSide {
	t.Helper()
	g := &goSide{t: t, dice: d, now: now, kem: map[keyName]ratchet.KEMSeed{}, oneTime: map[uint32]ratchet.Secret{}}
	g.key = must(identity.GenerateKey(d))(t)
	g.exchange, g.prekey = must(ratchet.GenerateSecret(d))(t), must(ratchet.GenerateSecret(d))(t)
	g.publish()
	return g
}

// must gives the value of a call that cannot fail here.
func must[T any](v T, err error) func(*testing.T) T {
	return func(t *testing.T) T {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
}

// publish makes certificate and bundle.
func (g *goSide) publish() {
	g.t.Helper()
	d := g.dice
	last := keyName{identity.KindLastResort, d.u32()}
	g.kem[last] = must(ratchet.GenerateKEMSeed(d))(g.t)
	b := identity.Bundle{
		Epoch: d.u32(), Sequence: d.u64(), Created: g.before(), Expires: g.after(),
		Certificate:    identity.KeyCertificate{Exchange: g.exchange.Public(), Created: g.before(), Expires: g.after()},
		SignedPrekeyID: d.u32(), SignedPrekey: g.prekey.Public(), KEMKeyID: last.id, KEMKey: g.kem[last].Public(),
		Suites: d.suites(), Features: d.u32(),
	}
	g.bundle = must(identity.ParseBundle(must(identity.SignBundle(g.key, b))(g.t)))(g.t)
	g.certificate = must(identity.SignKeyCertificate(g.key, g.bundle.Certificate))(g.t)
}

// before and after are times that a knock of now lies between.
func (g *goSide) before() time.Time {
	return g.now.Add(-time.Duration(g.dice.IntN(86400)) * time.Second)
}
func (g *goSide) after() time.Time {
	return g.now.Add(time.Duration(1+g.dice.IntN(86400)) * time.Second)
}

func (d *dice) suites() []byte {
	suites := []byte{identity.Suite2}
	for next := 3; len(suites) < 16 && d.oneIn(2); next += d.IntN(9) + 1 {
		suites = append(suites, byte(next))
	}
	return suites
}

func (g *goSide) offer(oneTime, kem bool) *offer {
	g.t.Helper()
	o := &offer{bundle: g.bundle.Raw(), kemKey: g.bundle.KEMKey}
	if oneTime {
		id, secret := g.dice.u32(), must(ratchet.GenerateSecret(g.dice))(g.t)
		g.oneTime[id] = secret
		public := secret.Public()
		o.oneTime = g.signOneTime(identity.KindOneTime, id, public[:])
	}
	if kem {
		name, seed := keyName{identity.KindOneTimeKEM, g.dice.u32()}, must(ratchet.GenerateKEMSeed(g.dice))(g.t)
		g.kem[name] = seed
		o.kemKey = seed.Public()
		o.kem = g.signOneTime(name.kind, name.id, o.kemKey)
	}
	return o
}

func (g *goSide) signOneTime(kind identity.KeyKind, id uint32, public []byte) []byte {
	g.t.Helper()
	return must(identity.SignOneTimeKey(g.key, identity.OneTimeKey{
		Epoch: g.bundle.Epoch, Kind: kind, ID: id, Created: g.before(), Expires: g.after(), Public: public,
	}))(g.t)
}

func (g *goSide) ask(o *offer, q content.Request, issued, expires time.Time) (line, asked) {
	g.t.Helper()
	peer := must(identity.ParseBundle(o.bundle))(g.t)
	asking := knock.Asking{
		Key: g.key, Certificate: g.certificate, Exchange: g.exchange, Peer: peer, Request: q, Issued: issued, Expires: expires,
	}
	if o.oneTime != nil {
		asking.OneTime = must(identity.ParseOneTimeKey(o.oneTime, peer.SigningKey))(g.t)
	}
	if o.kem != nil {
		asking.OneTimeKEM = must(identity.ParseOneTimeKey(o.kem, peer.SigningKey))(g.t)
	}
	k := must(knock.NewKnock(g.dice, asking))(g.t)
	sid := k.Session.SID()
	return &goLine{g, k.Session}, asked{env: k.Bytes, hash: k.Hash[:], sid: sid[:]}
}

func (g *goSide) answer(env []byte, now time.Time) (line, answered, string) {
	g.t.Helper()
	k, opened, err := g.open(env, now)
	if err != nil {
		return nil, answered{}, codeOf(g.t, err)
	}
	delete(g.oneTime, k.OneTime.ID)
	hash, sid := k.Hash(), opened.Session.SID()
	return &goLine{g, opened.Session}, answered{
		hash: hash[:], sid: sid[:], request: asJSON(g.t, contentFields(opened.Request)), tail: k.Tail,
	}, ""
}

// open is steps 1 to 10 of session.md §8.2 without the limits.
func (g *goSide) open(env []byte, now time.Time) (*knock.Knock, *knock.Opened, error) {
	k, err := knock.ParseKnock(env)
	if err != nil {
		return nil, nil, err
	}
	if err := errors.Join(k.CheckRecipient(g.key.AMID()), k.CheckTimes(now), k.VerifySignature()); err != nil {
		return nil, nil, err
	}
	keys := knock.ResponderKeys{Bundle: g.bundle, Exchange: g.exchange, SignedPrekey: g.prekey}
	var ok bool
	if keys.KEM, ok = g.kem[keyName{k.KEM.Kind, k.KEM.ID}]; !ok {
		return nil, nil, fmt.Errorf("KEM key: %w", knock.ErrPrekeyUnknown)
	}
	if k.OneTime.Kind == identity.KindOneTime {
		secret, ok := g.oneTime[k.OneTime.ID]
		if !ok {
			return nil, nil, fmt.Errorf("one-time key: %w", knock.ErrPrekeyUnknown)
		}
		keys.OneTime = &secret
	}
	opened, err := k.Open(keys, now, g.dice)
	return k, opened, err
}

type goLine struct {
	*goSide
	s *ratchet.Session
}

func (l *goLine) seal(c content.Content) []byte { return l.sealMany(c, 1) }

func (l *goLine) sealMany(c content.Content, count int) []byte {
	l.t.Helper()
	plaintext := must(c.Encode())(l.t)
	var env []byte
	for range count {
		var err error
		if env, _, err = l.s.Seal(l.dice, plaintext); err != nil {
			l.t.Fatal(err)
		}
	}
	return env
}

func (l *goLine) open(env []byte, now time.Time) (any, string) {
	l.t.Helper()
	before := must(l.s.MarshalBinary())(l.t)
	o, err := l.s.Open(now, l.dice, env)
	if err != nil {
		if !bytes.Equal(before, must(l.s.MarshalBinary())(l.t)) {
			l.t.Fatalf("Go: the session changed although %v", err)
		}
		return nil, codeOf(l.t, err)
	}
	return asJSON(l.t, contentFields(must(content.Parse(o.Plaintext))(l.t))), ""
}

// pythonSide is the second implementation. The private parts of its KEM keys are
// kept here.
type pythonSide struct {
	*python
	dice    *dice
	now     time.Time
	name    string
	epoch   uint32
	kem     map[keyName]*mlkem.DecapsulationKey768
	bundle  []byte
	kemKey  []byte // of the bundle
	agent   any
	counter int
}

func newPythonSide(p *python, d *dice, now time.Time) *pythonSide {
	p.t.Helper()
	s := &pythonSide{python: p, dice: d, now: now, name: fmt.Sprintf("agent %d", d.Uint64()), epoch: d.u32(),
		kem: map[keyName]*mlkem.DecapsulationKey768{}}
	g := goSide{dice: d, now: now}
	s.agent = p.do("agent", args{"name": s.name, "epoch": s.epoch, "created": g.before().Unix(), "expires": g.after().Unix()})
	id := d.u32()
	s.kemKey = s.newKEM(keyName{identity.KindLastResort, id})
	s.bundle = p.bytes(p.do("bundle", args{
		"agent": s.name, "sequence": d.u64(), "created": g.before().Unix(), "expires": g.after().Unix(), "signed_prekey_id": d.u32(),
		"kem_key_id": id, "kem_key": hexed(s.kemKey), "suites": hexed(d.suites()), "features": d.u32(),
	}))
	return s
}

func (s *pythonSide) newKEM(name keyName) []byte {
	s.t.Helper()
	s.kem[name] = must(mlkem.NewDecapsulationKey768(s.dice.bytes(mlkem.SeedSize)))(s.t)
	return s.kem[name].EncapsulationKey().Bytes()
}

func (s *pythonSide) offer(oneTime, kem bool) *offer {
	s.t.Helper()
	o := &offer{bundle: s.bundle, kemKey: s.kemKey}
	g := goSide{dice: s.dice, now: s.now}
	if oneTime {
		o.oneTime = s.bytes(s.do("one_time", args{"agent": s.name, "kind": identity.KindOneTime, "id": s.dice.u32(),
			"created": g.before().Unix(), "expires": g.after().Unix()}))
	}
	if kem {
		name := keyName{identity.KindOneTimeKEM, s.dice.u32()}
		o.kemKey = s.newKEM(name)
		o.kem = s.bytes(s.do("one_time", args{"agent": s.name, "kind": name.kind, "id": name.id,
			"created": g.before().Unix(), "expires": g.after().Unix(), "kem_key": hexed(o.kemKey)}))
	}
	return o
}

func (s *pythonSide) session() string {
	s.counter++
	return fmt.Sprintf("%s, session %d", s.name, s.counter)
}

func (s *pythonSide) ask(o *offer, q content.Request, issued, expires time.Time) (line, asked) {
	s.t.Helper()
	key := must(mlkem.NewEncapsulationKey768(o.kemKey))(s.t)
	secret, ciphertext := key.Encapsulate()
	l := &pythonLine{s, s.session()}
	r := s.do("ask", args{
		"agent": s.name, "session": l.id, "bundle": hexed(o.bundle), "one_time": hexed(o.oneTime), "kem_one_time": hexed(o.kem),
		"kem_key": hexed(o.kemKey), "kem_ciphertext": hexed(ciphertext), "kem_secret": hexed(secret),
		"request": requestFields(&q), "issued": issued.Unix(), "expires": expires.Unix(),
	})
	return l, asked{env: s.field(r, "knock"), hash: s.field(r, "hash"), sid: s.field(r, "sid")}
}

func (s *pythonSide) answer(env []byte, now time.Time) (line, answered, string) {
	s.t.Helper()
	l := &pythonLine{s, s.session()}
	r := s.try("answer", args{
		"agent": s.name, "session": l.id, "knock": hexed(env), "kem_secret": hexed(s.decapsulate(env)), "now": now.Unix(),
	})
	if r.Refused != "" {
		if r.Changed {
			s.t.Fatalf("Python: the agent changed although %s", r.Why)
		}
		return nil, answered{}, r.Refused
	}
	return l, answered{
		hash: s.field(r.OK, "hash"), sid: s.field(r.OK, "sid"), request: r.OK.(map[string]any)["request"], tail: s.field(r.OK, "tail"),
	}, ""
}

// decapsulate does for Python what its libraries cannot. A knock that cannot be
// read, or that names no key of ours, gives zeros.
func (s *pythonSide) decapsulate(env []byte) []byte {
	s.t.Helper()
	if k, err := knock.ParseKnock(env); err == nil {
		if key := s.kem[keyName{k.KEM.Kind, k.KEM.ID}]; key != nil {
			return must(key.Decapsulate(k.Ciphertext))(s.t)
		}
	}
	return make([]byte, mlkem.SharedKeySize)
}

type pythonLine struct {
	*pythonSide
	id string
}

func (l *pythonLine) seal(c content.Content) []byte { return l.sealMany(c, 1) }

func (l *pythonLine) sealMany(c content.Content, count int) []byte {
	l.t.Helper()
	r := l.do("seal_many", args{"session": l.id, "content": contentFields(c), "count": count})
	env := l.field(r, "envelope")
	if id := ratchet.EnvelopeID(env); id.String() != hexed(l.field(r, "id")) {
		l.t.Fatalf("envelope id: Python %x, Go %s", l.field(r, "id"), id)
	}
	return env
}

func (l *pythonLine) open(env []byte, now time.Time) (any, string) {
	l.t.Helper()
	r := l.try("open", args{"session": l.id, "envelope": hexed(env), "now": now.Unix()})
	if r.Refused != "" && r.Changed {
		l.t.Fatalf("Python: the session changed although %s", r.Why)
	}
	return r.OK, r.Refused
}
