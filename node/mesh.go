package node

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/libp2p/go-libp2p/core/host"
	ma "github.com/multiformats/go-multiaddr"
	manet "github.com/multiformats/go-multiaddr/net"

	"amesh/dht"
	"amesh/dht/lan"
	"amesh/identity"
	"amesh/internal/content"
	"amesh/internal/store"
	codec "amesh/internal/wire"
	"amesh/knock"
	"amesh/node/agent"
	"amesh/node/api"
	"amesh/node/direct"
	"amesh/ratchet"
	"amesh/relay"
)

// mesh is a running node: its agents' mailrooms with their paths, and what they
// share. It is also the backend of the local API (backend.go).
type mesh struct {
	node       *Node
	host       host.Host
	store      store.Store
	stateKey   *store.StateKey
	transport  *direct.Transport
	dht        *dht.Node
	lan        *lan.Service // nil: the owner wants no neighbours
	policy     *policyFile
	started    time.Time
	rooms      []*room
	echo       identity.AMID // of the echo agent, zero for none
	changed    chan struct{} // our places may have changed; the records are made anew
	recorded   chan struct{} // closes when every agent has a record
	registries *registries
	punching   *punching     // nil: the owner wants none
	circuits   *dht.Circuits // nil: likewise, or there is no circuit relay
	nat        natView
	backups    sync.Mutex // held while a backup is written
}

// room is one agent with its paths.
type room struct {
	published
	key    identity.PrivateKey
	card   *signedCard
	agent  *agent.Agent
	paths  *paths
	relays *relays
	guests *guests
	marks  *deposits
}

// add makes the mailroom of an agent. Nothing of it runs yet.
func (m *mesh) add(ctx context.Context, name string, id *identity.Identity, st store.Store, key *store.StateKey, mark string) error {
	r := &room{key: id.Key}
	cfg := &m.node.cfg
	var err error
	r.card = &signedCard{clock: cfg.Clock, sign: func(ctx context.Context, c api.CardContent) ([]byte, error) { return r.agent.SignCard(ctx, c) }}
	r.marks = newDeposits(id.Key, func() sealer { return r.agent }, func() []*relay.Client { return r.relays.mailboxes() }, cfg.Logger)
	r.relays, err = newRelays(relaysConfig{
		proxy: m.node.proxy, key: id.Key, marks: r.marks, guests: func() []identity.AMID { return r.guests.list() }, own: cfg.Relays, legacy: cfg.AllowLegacyRelay,
		notYet: func() bool { return !m.registries.enrolled(id.Key.AMID()) }, limits: homingLimits(cfg.Homes), log: cfg.Logger,
		book:    &relayBook{store: st, amid: id.Key.AMID()},
		deliver: func(d relay.Delivery, c *relay.Client) { r.fromRelay(d, c) },
		expired: func(e relay.Expired, c *relay.Client) { r.gaveUp(e, c) },
		up: func(url string, home bool) {
			if home {
				r.agent.Kick()
			} else {
				r.paths.atRelay(url)
			}
		},
		moved: func() {
			r.agent.PlacesChanged()
			m.republish()
		},
	})
	if err != nil {
		return err
	}
	r.paths = newPaths(pathsConfig{
		own: id.Key.AMID(), direct: m.transport, relays: r.relays, nearby: m.nearby, limits: cfg.climb, log: cfg.Logger,
		places: func() agent.Places { return m.places(r) },
		kick:   func(p identity.AMID) { r.agent.KickPeer(p) },
		begin:  m.punching.forPaths(),
		meet:   m.meeting(),
		met:    m.met,
		signal: func(ctx context.Context, p identity.AMID, s content.Signal) error { return r.agent.Signal(ctx, p, s) },
	})
	r.agent, err = agent.New(agent.Config{
		Name: name, Key: id.Key, Store: st, StateKey: key, Carrier: r.paths, Directory: m.directory(r), KeySource: keySource{near: r.paths, registries: m.registries, key: id.Key},
		ServedTwice: m.registries.servedTwice, Certificate: func() []byte { return m.registries.certificate(id.Key.AMID()) }, Prove: m.registries.prove,
		Policy: func() *knock.Policy { return m.policyFor(id.Key.AMID()) }, Mark: markFile(mark), Raised: r.marks.raised, Clock: cfg.Clock, Uptime: cfg.Uptime, Logger: cfg.Logger,
	})
	if err != nil {
		return err
	}
	if err := r.agent.Start(ctx); err != nil {
		return err
	}
	if r.card.said, err = r.agent.CardContent(); err != nil {
		return err
	}
	r.guests = newGuests(r.agent, r.relays.mailboxes, cfg.Logger)
	r.paths.guests = r.guests
	if err := r.guests.review(); err != nil { // before the first line
		return err
	}
	m.rooms = append(m.rooms, r)
	return nil
}

// fromRelay takes what a relay hands out. It is acknowledged there only when it is
// on disk here, or will never be opened.
func (r *room) fromRelay(d relay.Delivery, c *relay.Client) {
	if d.Legacy {
		c.Ack(d.ID) // a 0.2 client's text; nothing here can read it
		return
	}
	r.agent.Receive(agent.Incoming{
		From: d.From, Data: d.Payload, Path: api.PathRelayed, Ack: func() { c.Ack(d.ID) },
	})
}

// gaveUp takes a relay's notice that it keeps something of ours no longer.
func (r *room) gaveUp(e relay.Expired, c *relay.Client) {
	done := func() { c.Ack(e.ID) }
	id, err := envelopeID(e.Message)
	if err != nil {
		done() // nothing that we sent
		return
	}
	r.agent.GaveUp(e.To, id, c.URL(), e.Reason.String(), done)
}

// envelopeID reads the id by which a relay names an envelope.
func envelopeID(text string) (id ratchet.ID, err error) {
	raw, err := hex.DecodeString(text)
	if err == nil && len(raw) != len(id) {
		err = fmt.Errorf("envelope id of %d bytes", len(raw))
	}
	if err != nil {
		return id, err
	}
	return ratchet.ID(raw), nil
}

// fromDirect takes what came over a direct connection, for whichever of our agents
// it names.
func (m *mesh) fromDirect(d direct.Delivery) {
	for _, r := range m.rooms {
		if r.agent.AMID() == d.To {
			r.agent.Receive(agent.Incoming{
				From: d.From, Data: d.Data, Path: r.paths.kind(d.PeerID), PeerID: d.PeerID, Ack: d.Ack,
			})
			return
		}
	}
	// Not acknowledged: its agent may live elsewhere by now, and the sender shall
	// try the relay instead of believing that it arrived.
	m.node.cfg.Logger.Debug("envelope for nobody here", "peer", d.PeerID, "to", d.To.Short())
}

// onPeer hears that a direct connection came or went.
func (m *mesh) onPeer(peerID string, _ bool) {
	for _, r := range m.rooms {
		r.paths.connected(peerID)
	}
}

// places is what an accepted peer of an agent is told, sealed: everything.
func (m *mesh) places(r *room) agent.Places {
	p := agent.Places{PeerIDs: []string{m.host.ID().String()}, Relays: r.relays.announced()}
	for _, a := range useful(dht.OwnAddrs(m.host)) {
		if s := a.String(); len(s) <= maxAddressText && len(p.Addresses) < identity.MaxAddresses {
			p.Addresses = append(p.Addresses, s)
		}
	}
	return p
}

// ofCircuits reports whether an address is one by way of a relay, or stands for all of
// those.
func ofCircuits(a ma.Multiaddr) bool {
	_, err := a.ValueForProtocol(ma.P_CIRCUIT)
	return err == nil
}

// useful leaves out loopback addresses where there are others: they lead every peer to
// itself.
func useful(all []ma.Multiaddr) []ma.Multiaddr {
	all = slices.DeleteFunc(slices.Clone(all), ofCircuits)
	others := slices.DeleteFunc(slices.Clone(all), manet.IsIPLoopback)
	if len(others) == 0 {
		return all
	}
	return others
}

// public is what everybody may read in the agent's record. Addresses stand there
// only where the owner said so.
func (m *mesh) public(r *room) agent.Places {
	p := m.places(r)
	if m.node.cfg.Announce == AnnouncePublic {
		p.Addresses = announceable(dht.OwnAddrs(m.host), m.node.bootstrap)
		return p
	}
	// Peer ids are of no use without addresses, and would link the agents of a node.
	p.PeerIDs, p.Addresses = nil, nil
	return p
}

// policyChanged has the mailrooms end what the policy in force does not let be.
func (m *mesh) policyChanged() {
	for _, r := range m.rooms {
		r.agent.PolicyChanged()
		r.guests.refresh()
	}
}

// republish has the records made anew soon.
func (m *mesh) republish() {
	select {
	case m.changed <- struct{}{}:
	default:
	}
}

// recordWait is how long the first records wait for a home: without, nothing can be
// left for the agent.
const recordWait = time.Second

// firstRecord is when the first records are put, unless a home comes sooner.
func (m *mesh) firstRecord() time.Duration {
	for _, r := range m.rooms {
		if r.relays.settling() {
			return recordWait
		}
	}
	return 0
}

// publish keeps every agent's record in the DHT, at the registries and ready for
// neighbours. The DHT service itself puts it again when a server comes back.
func (m *mesh) publish(ctx context.Context) error {
	if len(m.node.bootstrap)+len(m.registries.all()) == 0 && m.lan == nil {
		<-ctx.Done()
		return nil
	}
	every := agent.DefaultLimits().RecordRenew
	timer := time.NewTimer(m.firstRecord())
	defer timer.Stop()
	told := make(map[*room]string)
	for {
		renew, changed := false, false
		select {
		case <-ctx.Done():
			return nil
		case <-m.changed:
			if len(told) == 0 {
				timer.Reset(every)
			}
		case <-timer.C:
			renew = true
			timer.Reset(every)
		}
		for _, r := range m.rooms {
			places := m.public(r)
			says := places.String() + r.agent.Edition() + r.card.edition()
			if !renew && told[r] == says {
				continue
			}
			if err := m.publishOne(ctx, r, places); err != nil {
				return err
			}
			told[r] = says
			changed = true
		}
		if changed && m.lan != nil {
			m.lan.Changed()
		}
		select {
		case <-m.recorded: // not for the first time
		default:
			close(m.recorded)
		}
		m.registries.refresh()
	}
}

// publishOne signs and puts one record; only an error of the store is returned.
func (m *mesh) publishOne(ctx context.Context, r *room, p agent.Places) error {
	raw, err := r.agent.Record(ctx, p)
	if errors.Is(err, identity.ErrRevoked) {
		m.dht.Withdraw(r.agent.AMID())
		r.setRecord(nil)
		m.dht.ForgetCard(r.agent.AMID())
		return nil
	}
	if err != nil {
		if ctx.Err() != nil || errors.Is(err, store.ErrNoSpace) {
			return nil
		}
		return err
	}
	r.setRecord(raw)
	m.registries.refresh()
	if err := m.leaveCard(ctx, r); err != nil || len(m.node.bootstrap) == 0 {
		return err
	}
	if err := m.dht.Publish(ctx, raw); err != nil && ctx.Err() == nil {
		m.node.cfg.Logger.Info("record is not in the DHT yet", "agent", r.agent.Name, "err", err)
	}
	return nil
}

// leaveCard signs the agent's card, which neighbours are shown, and leaves it where the
// DHT finds it; only an error of the store is returned.
func (m *mesh) leaveCard(ctx context.Context, r *room) error {
	raw, err := r.card.signed(ctx)
	switch {
	case ctx.Err() != nil || errors.Is(err, store.ErrNoSpace) || errors.Is(err, codec.ErrMalformed):
		return nil
	case err != nil || raw == nil || len(m.node.bootstrap) == 0:
		return err
	}
	switch err := m.dht.LeaveCard(ctx, raw); {
	case err == nil:
		r.setLeftCard(raw)
	case ctx.Err() == nil:
		m.node.cfg.Logger.Info("card is not in the DHT yet", "agent", r.agent.Name, "err", err)
	}
	return nil
}
