package testnet

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"strings"

	"amesh/node/api"
)

// What is said in the demo. The words are ones that no protocol uses.
const (
	intent   = "travel/flights"
	greeting = "does the sleeper to Trondheim still carry bicycles? the codeword is marmalade"
	stranger = "congratulations, your timeshare in Reykjavik is waiting"
)

// started is what step "start" tells programs.
type started struct {
	Relay     string `json:"relay"`
	Proxy     string `json:"proxy"`
	Bootstrap string `json:"bootstrap"`
}

func (d *demo) start(ctx context.Context) (any, error) {
	if err := d.file.copyTo(filepath.Join(d.dir, "files")); err != nil {
		return nil, err
	}
	d.said = append(d.said, wordsOf("a message", greeting)...)
	d.said = append(d.said, wordsOf("a message", stranger)...)
	d.said = append(d.said, needle{"the intent", []byte(intent)})
	d.said = append(d.said, wordsOf("the intent", intent)...)
	d.said = append(d.said, fragmentsOf("the file", d.file.body)...)

	if err := d.startRelay(ctx); err != nil {
		return nil, err
	}
	if _, peer, ok := strings.Cut(d.relay.bootstrap(), "/p2p/"); ok && len(peer) > 8 {
		d.say.abbreviate(peer, peer[:4]+"…"+peer[len(peer)-4:])
	}
	if err := d.serveProxy(d.relay.host()); err != nil {
		return nil, err
	}
	d.say.note("the proxy listens at %s and records what goes to and from the relay", d.proxy.addr())
	for _, name := range []string{"alice", "bob", "carol"} {
		a := &agent{name: name, home: filepath.Join(d.dir, name)}
		switch name {
		case "alice":
			d.alice = a
		case "bob":
			d.bob = a
		default:
			d.carol = a
			continue // comes later, uninvited
		}
		if err := d.startNode(ctx, a); err != nil {
			return nil, err
		}
	}
	return started{d.relay.addrs.Relay, d.proxy.addr(), d.relay.bootstrap()}, nil
}

// who is an agent for programs.
type who struct {
	Name string `json:"name"`
	AMID string `json:"amid"`
	DID  string `json:"did"`
}

type identified struct {
	Agents     []who `json:"agents"`
	DHTServers int   `json:"dht_servers"`
}

func (d *demo) identities(ctx context.Context) (any, error) {
	var data identified
	for _, a := range []*agent{d.alice, d.bob} {
		if _, err := d.amesh(ctx, a, 0, "id"); err != nil {
			return nil, err
		}
		if err := d.getToKnow(ctx, a); err != nil {
			return nil, err
		}
		servers, err := d.published(ctx, a)
		if err != nil {
			return nil, err
		}
		data.DHTServers = servers
		data.Agents = append(data.Agents, who{a.name, a.amid(), a.id.DID})
	}
	if d.alice.id.AMID == d.bob.id.AMID {
		return nil, fmt.Errorf("alice and bob are both %s", d.alice.amid())
	}
	if _, err := d.amesh(ctx, d.bob, 0, "status"); err != nil {
		return nil, err
	}
	d.say.note("each record was read back from another node; no registry runs, the AMID is all one needs")
	return data, nil
}

// getToKnow asks a node for its agent and checks what must agree.
func (d *demo) getToKnow(ctx context.Context, a *agent) error {
	id, err := a.api.Identity(ctx, "")
	if err != nil {
		return fmt.Errorf("identity of %s: %w", a.name, err)
	}
	if id.AMID.IsZero() || id.DID != id.AMID.DID() {
		return fmt.Errorf("%s has AMID %s, but DID %s", a.name, id.AMID, id.DID)
	}
	a.id = id
	d.say.abbreviate(a.amid(), id.AMID.Short())
	return nil
}

// published waits until the node is at the relay and its record in the DHT.
func (d *demo) published(ctx context.Context, a *agent) (servers int, err error) {
	err = d.until(ctx, func(ctx context.Context) (string, error) {
		s, err := a.api.Status(ctx, "")
		if err != nil {
			return "", fmt.Errorf("status of %s: %w", a.name, err)
		}
		servers = s.DHT.Peers
		switch {
		case len(s.Relays) != 1 || s.Relays[0].State != "connected":
			return fmt.Sprintf("%s is not connected to the relay: %+v", a.name, s.Relays), nil
		case !s.DHT.Published:
			return fmt.Sprintf("%s has not published its record: %+v", a.name, s.DHT), nil
		}
		return "", nil
	})
	return servers, err
}

type knocked struct {
	Accepted     string       `json:"accepted"`
	AcceptedRule string       `json:"accepted_rule"`
	Path         api.PathKind `json:"path"`
	Refused      string       `json:"refused"`
	RefusedRule  string       `json:"refused_rule"`
	RefusedExit  int          `json:"refused_exit"`
}

// exitRefused and exitUndelivered are exit codes of amesh send, part of its
// interface.
const (
	exitRefused     = 5
	exitUndelivered = 8
)

func (d *demo) knock(ctx context.Context) (any, error) {
	for _, rule := range [][]string{{"strangers", "reject"}, {"allow", d.alice.amid()}} {
		if _, err := d.amesh(ctx, d.bob, 0, "policy", "set", rule[0], rule[1]); err != nil {
			return nil, err
		}
	}
	m, err := d.send(ctx, d.alice, 0, d.bob.amid(), greeting, "--intent", intent, "--timeout", d.limits.Deliver.String())
	if err != nil {
		return nil, err
	}
	d.say.note("alice knew nothing but bob's AMID: keys and address came from the DHT")
	if err := d.receive(ctx, m, []byte(greeting)); err != nil {
		return nil, err
	}
	if err := d.turnAway(ctx); err != nil {
		return nil, err
	}
	accepted, refused, err := d.rules(ctx)
	if err != nil {
		return nil, err
	}
	d.say.note("bob's owner sees the rules: %q let alice in, %q kept carol out", accepted, refused)
	return knocked{d.alice.amid(), accepted, m.Path, d.carol.amid(), refused, exitRefused}, nil
}

// receive lets bob read a text of alice and mark it as done.
func (d *demo) receive(ctx context.Context, m api.Message, body []byte) error {
	if _, err := d.amesh(ctx, d.bob, 0, "inbox"); err != nil {
		return err
	}
	if _, err := d.amesh(ctx, d.bob, 0, "read", m.ID); err != nil {
		return err
	}
	in, err := d.bob.api.Read(ctx, "", m.ID, 0)
	if err != nil {
		return fmt.Errorf("read message %s: %w", m.ID, err)
	}
	if string(in.Body) != string(body) || in.From != d.alice.id.AMID || in.Intent != intent {
		return fmt.Errorf("bob got %q from %s about %q", in.Body, in.From, in.Intent)
	}
	return d.markDone(ctx, m.ID)
}

// markDone is bob's word that he is done, and the wait for alice to hear it.
func (d *demo) markDone(ctx context.Context, ids ...string) error {
	for _, id := range ids {
		if _, err := d.amesh(ctx, d.bob, 0, "done", id); err != nil {
			return err
		}
	}
	for _, id := range ids {
		m, err := d.await(ctx, d.alice, id, api.StateHandled)
		if err != nil {
			return err
		}
		if m.State != api.StateHandled { // failed and refused are as far
			return fmt.Errorf("message %s is %s, want handled", id, m.State)
		}
		d.say.note("alice's node says: %s is %s", id, m.State)
	}
	return nil
}

// turnAway lets carol try, whom bob's policy does not name.
func (d *demo) turnAway(ctx context.Context) error {
	if err := d.startNode(ctx, d.carol); err != nil {
		return err
	}
	if err := d.getToKnow(ctx, d.carol); err != nil {
		return err
	}
	m, err := d.send(ctx, d.carol, exitRefused, d.bob.amid(), stranger, "--timeout", d.limits.Deliver.String())
	if err != nil {
		return err
	}
	if m.State != api.StateRefused {
		return fmt.Errorf("carol's message is %s, want refused", m.State)
	}
	page, err := d.bob.api.Inbox(ctx, "", api.InboxQuery{All: true, From: d.carol.amid()})
	if err != nil {
		return fmt.Errorf("look for carol in bob's inbox: %w", err)
	}
	if len(page.Items) > 0 {
		return fmt.Errorf("%d messages of carol are in bob's inbox", len(page.Items))
	}
	return d.carol.proc.Stop(d.limits.Stop)
}

// rules returns the names of the rules by which bob's policy decided.
func (d *demo) rules(ctx context.Context) (accepted, refused string, err error) {
	if _, err := d.amesh(ctx, d.bob, 0, "knocks"); err != nil {
		return "", "", err
	}
	knocks, err := d.bob.api.Knocks(ctx, "")
	if err != nil {
		return "", "", fmt.Errorf("knocks at bob's door: %w", err)
	}
	for _, k := range knocks {
		switch {
		case k.Direction != "in":
		case k.Peer == d.alice.id.AMID && k.State == "accepted":
			accepted = k.Rule
		case k.Peer == d.carol.id.AMID && k.State == "rejected":
			refused = k.Rule
		}
	}
	if accepted == "" || refused == "" {
		return "", "", errors.New("bob's list of knocks does not name the rules that decided")
	}
	return accepted, refused, nil
}
