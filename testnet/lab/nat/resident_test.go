package nat_test

import (
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"

	"amesh/node/api"
	"amesh/testnet/netns"
	"amesh/testnet/process"

	ma "github.com/multiformats/go-multiaddr"
	manet "github.com/multiformats/go-multiaddr/net"
)

// resident is a node on a host of the city, with its default agent.
type resident struct {
	*netns.Host
	at    place // of those that the matrix has; empty elsewhere
	home  string
	amid  string
	api   *api.Client
	proc  *process.Process
	front netip.Addr // the address under which the world sees it
	extra []string   // arguments of up
}

// moveIn puts a host behind boxes and starts a node on it.
func (c *city) moveIn(ctx context.Context, name string, at place, v6 bool, extra ...string) (*resident, error) {
	var box *netns.Box
	var front netip.Addr
	for i, kind := range at.boxes() {
		b, err := c.Box(ctx, netns.BoxConfig{Name: fmt.Sprintf("%s-box%d", name, i), Kind: kind, Behind: box, IPv6: v6})
		if err != nil {
			return nil, err
		}
		if i == 0 {
			front = b.Outside()
		}
		box = b
	}
	r, err := c.settle(ctx, name, box, extra...)
	if err != nil {
		return nil, err
	}
	if r.at, r.front = at, front; at == atOpen {
		r.front = r.IP()
	}
	return r, nil
}

// settle puts a host behind a box that is there.
func (c *city) settle(ctx context.Context, name string, box *netns.Box, extra ...string) (*resident, error) {
	h, err := c.Host(ctx, name, box)
	if err != nil {
		return nil, err
	}
	r := &resident{Host: h, home: filepath.Join(c.Dir(), name), extra: extra}
	if err := r.up(ctx, c); err != nil {
		return nil, err
	}
	if _, err := r.api.SetPolicy(ctx, "", api.PolicyChange{Key: "strangers", Value: "accept"}); err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	return r, nil
}

// up starts the node, the first time or again.
func (r *resident) up(ctx context.Context, c *city) error {
	port := r.Ports().From
	file := r.home + ".json"
	args := []string{"up", "--home", r.home, "--registry", c.registry.URL, "--api", "127.0.0.1:0", "--print-addrs", file,
		"--listen", fmt.Sprintf("/ip4/0.0.0.0/udp/%d/quic-v1", port), "--listen", fmt.Sprintf("/ip4/0.0.0.0/tcp/%d", port)}
	if r.IP6().IsValid() {
		args = append(args, "--listen", fmt.Sprintf("/ip6/::/udp/%d/quic-v1", port), "--listen", fmt.Sprintf("/ip6/::/tcp/%d", port))
	}
	for _, relay := range c.relays {
		args = append(args, "--relay", relay.URL, "--bootstrap", relay.Bootstrap[0])
	}
	if err := os.RemoveAll(file); err != nil {
		return err
	}
	p, err := r.Start(process.Config{Name: r.Name(), Binary: program, Args: append(args, r.extra...), Dir: c.Dir(), Log: r.home + ".log"})
	if err != nil {
		return err
	}
	r.proc = p
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	var addrs struct{ Socket string }
	if err := p.Ready(ctx, file, lookEvery, &addrs); err != nil {
		return fmt.Errorf("%w: %v", err, p.Tail(5))
	}
	r.api = api.NewClient(api.ClientConfig{Socket: addrs.Socket})
	id, err := r.api.Identity(ctx, "")
	if err != nil {
		return fmt.Errorf("%s: %w", r.Name(), err)
	}
	r.amid = id.AMID.String()
	return nil
}

// tell sends a text and waits until the peer's node has it.
func (r *resident) tell(ctx context.Context, to *resident, text string) error {
	m, err := r.api.Send(ctx, "", api.SendRequest{To: to.amid, Body: []byte(text), Intent: "lab", Wait: api.StateDelivered, TimeoutMS: patience.Milliseconds()}, strings.ReplaceAll(text, " ", "."))
	if err != nil {
		return fmt.Errorf("%s to %s: %w", r.Name(), to.Name(), err)
	}
	if m.State != api.StateDelivered && m.State != api.StateHandled {
		return fmt.Errorf("%s to %s: %s %s %s", r.Name(), to.Name(), m.State, m.Reason, m.Where)
	}
	return nil
}

// heard checks that exactly these texts came from a peer, each once and in their order.
func (r *resident) heard(ctx context.Context, from *resident, texts []string) error {
	items, err := r.inbox(ctx, from)
	if err != nil {
		return err
	}
	var got, want []string
	for _, item := range items {
		got = append(got, item.SHA256)
	}
	for _, text := range texts {
		want = append(want, fmt.Sprintf("%x", sha256.Sum256([]byte(text))))
	}
	if slices.Equal(got, want) {
		return nil
	}
	distinct := make(map[string]bool)
	for _, sum := range got {
		distinct[sum] = true
	}
	return fmt.Errorf("%s heard %d messages from %s, %d of them different, want %d in their order", r.Name(), len(got), from.Name(), len(distinct), len(want))
}

// inbox is everything that came from a peer, oldest first.
func (r *resident) inbox(ctx context.Context, from *resident) (all []api.InboxItem, err error) {
	q := api.InboxQuery{All: true, From: from.amid, Limit: 500}
	for {
		page, err := r.api.Inbox(ctx, "", q)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", r.Name(), err)
		}
		all = append(all, page.Items...)
		if q.Cursor = page.Next; q.Cursor == "" {
			return all, nil
		}
	}
}

// why is what the verb prints.
func (r *resident) why(ctx context.Context, peer *resident) (api.Why, error) {
	var answer struct {
		Data  api.Why
		Error *struct{ Message string }
	}
	out, err := exec.CommandContext(ctx, program, "--home", r.home, "why", peer.amid, "--json").Output()
	if decode := json.Unmarshal(out, &answer); decode != nil {
		return api.Why{}, fmt.Errorf("%s: why %s: %w: %s", r.Name(), peer.Name(), errors.Join(err, decode), out)
	}
	if answer.Error != nil {
		return api.Why{}, fmt.Errorf("%s: why %s: %s", r.Name(), peer.Name(), answer.Error.Message)
	}
	return answer.Data, nil
}

// isDirect says whether the path is one without a relay.
func isDirect(w api.Why) bool {
	return w.Path == api.PathDirect || w.Path == api.PathPunched || w.Path == api.PathOpen
}

// reaches checks that the connection in use ends at the peer's side of its NAT, and is
// none through a circuit. That a message came proves neither.
func reaches(w api.Why, peer *resident) error {
	if !isDirect(w) {
		return fmt.Errorf("%s is %s (%s: %s)", peer.Name(), w.Path, w.Reason, w.Text)
	}
	if w.Limited || strings.Contains(w.Remote, "p2p-circuit") {
		return fmt.Errorf("%s is %s, through a circuit: %s", peer.Name(), w.Path, w.Remote)
	}
	ip, err := ipOf(w.Remote)
	if err != nil {
		return fmt.Errorf("%s: %w", peer.Name(), err)
	}
	if ip != peer.front && ip != peer.IP6() {
		return fmt.Errorf("%s is %s at %s, want its side of the NAT, %s", peer.Name(), w.Path, w.Remote, peer.front)
	}
	return nil
}

func ipOf(multiaddr string) (netip.Addr, error) {
	m, err := ma.NewMultiaddr(multiaddr)
	if err != nil {
		return netip.Addr{}, fmt.Errorf("remote %q: %w", multiaddr, err)
	}
	ip, err := manet.ToIP(m)
	if err != nil {
		return netip.Addr{}, fmt.Errorf("remote %q: %w", multiaddr, err)
	}
	addr, _ := netip.AddrFromSlice(ip)
	return addr.Unmap(), nil
}

// hostOf is the address of ADDRESS:PORT.
func hostOf(text string) (netip.Addr, bool) {
	at, err := netip.ParseAddrPort(text)
	return at.Addr(), err == nil
}
