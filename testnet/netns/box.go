package netns

import (
	"context"
	"fmt"
	"net/netip"
	"path/filepath"
	"strconv"
	"time"

	"amesh/testnet/natbox"
	"amesh/testnet/process"
)

// BoxConfig says what box to put up.
type BoxConfig struct {
	Name       string // also of its namespace
	Kind       natbox.Kind
	Behind     *Box         // nil: on the public network
	Inside     netip.Prefix // of the network inside; zero: one that no other box has
	IPv6       bool         // the network inside has it; a box behind another needs it there too
	Faults     natbox.Faults
	ProxyLogin string // of an http-proxy box, USER:PASSWORD
}

// Box is one between networks, and the process that it is. Its methods may be called
// from any goroutine, but for World.Host and World.Box with it, which take turns.
type Box struct {
	world   *World
	cfg     BoxConfig
	space   string
	outside cable
	v4, v6  netip.Prefix // the network inside; v6 is invalid without IPv6
	places  int          // given inside
	control string
	process *process.Process
}

// The interfaces of a box: a cable outside, a bridge inside.
const (
	outsideName = "out"
	insideName  = "in"
)

// Box puts up a box. A full cone knows the hosts behind it when it begins, so all
// hostsPerBox get their ports there: see Host.
func (w *World) Box(ctx context.Context, cfg BoxConfig) (*Box, error) {
	if cfg.Behind != nil && cfg.IPv6 && !cfg.Behind.v6.IsValid() {
		return nil, fmt.Errorf("netns: box %s: no IPv6 at %s, which it is behind", cfg.Name, cfg.Behind.cfg.Name)
	}
	n, v4, v6, err := w.plan.inside(cfg.Kind == natbox.Open)
	if err != nil {
		return nil, fmt.Errorf("netns: box %s: %w", cfg.Name, err)
	}
	if cfg.Inside.IsValid() {
		v4 = cfg.Inside.Masked()
	}
	b := &Box{world: w, cfg: cfg, space: w.name + cfg.Name, v4: v4, control: filepath.Join(w.cfg.Dir, "box"+strconv.Itoa(n)+".sock")}
	if cfg.IPv6 {
		b.v6 = v6
	}
	if err := b.build(ctx, n); err != nil {
		return nil, fmt.Errorf("netns: box %s: %w", cfg.Name, err)
	}
	if err := b.start(ctx); err != nil {
		return nil, fmt.Errorf("netns: box %s: %w", cfg.Name, err)
	}
	return b, nil
}

// build makes the namespace with both interfaces, and the routes to it.
func (b *Box) build(ctx context.Context, n int) error {
	w := b.world
	if err := w.space(ctx, b.cfg.Name); err != nil {
		return err
	}
	lines := []string{
		line("link add", insideName, "address", linkAddress(n), "type bridge mcast_snooping 0"),
		line("link set", insideName, "up"),
		line("addr add", netip.PrefixFrom(after(b.v4, 1), b.v4.Bits()), "dev", insideName),
	}
	if b.v6.IsValid() {
		lines = append(lines, line("-6 addr add", netip.PrefixFrom(after(b.v6, 1), b.v6.Bits()), "dev", insideName, "nodad"))
	}
	if err := inSpace(ctx, b.space, lines...); err != nil {
		return err
	}
	return b.connect(ctx, "b"+strconv.Itoa(n))
}

// connect lays the cable outside, and has everybody there know the way inside.
func (b *Box) connect(ctx context.Context, port string) (err error) {
	w, to, bridge := b.world, b.world.name+coreSpace, bridgeName
	if b.cfg.Behind != nil {
		to, bridge = b.cfg.Behind.space, insideName
		b.outside, err = b.cfg.Behind.place()
	} else {
		b.outside, err = w.plan.public()
	}
	if err != nil {
		return err
	}
	if !b.cfg.IPv6 {
		b.outside.address6 = netip.Prefix{}
	}
	if err := w.join(ctx, b.space, outsideName, to, bridge, port, b.outside); err != nil {
		return err
	}
	var routes []string
	if b.cfg.Kind == natbox.Open {
		routes = append(routes, line("route add", b.v4, "via", b.outside.address.Addr()))
	}
	if err := inSpace(ctx, to, routes...); err != nil || !b.v6.IsValid() {
		return err
	}
	// Each box on the way has to know where the network is.
	via := b.outside.address6.Addr()
	for at := b; at != nil; at = at.cfg.Behind {
		next := w.name + coreSpace
		if at.cfg.Behind != nil {
			next = at.cfg.Behind.space
		}
		if err := inSpace(ctx, next, line("-6 route add", b.v6, "via", via)); err != nil {
			return err
		}
		if at.cfg.Behind != nil {
			via = at.cfg.Behind.outside.address6.Addr()
		}
	}
	return nil
}

// start runs the box's process and waits until its rules are set.
func (b *Box) start(ctx context.Context) error {
	args := []string{"testnet", "natbox", "--kind", string(b.cfg.Kind), "--inside", insideName, "--outside", outsideName, "--control", b.control}
	if b.cfg.IPv6 {
		args = append(args, "--ipv6")
	}
	if b.cfg.ProxyLogin != "" {
		args = append(args, "--proxy-login", b.cfg.ProxyLogin)
	}
	if b.cfg.Kind == natbox.FullCone {
		for i := range hostsPerBox {
			args = append(args, "--forward", b.forward(i))
		}
	}
	p, err := b.world.start(b.space, process.Config{
		Name: b.cfg.Name, Binary: b.world.cfg.Binary, Args: args, Env: b.world.env(), Dir: b.world.cfg.Dir,
		Log: filepath.Join(b.world.cfg.Dir, b.cfg.Name+".log"),
	})
	if err != nil {
		return err
	}
	b.process = p
	return b.ready(ctx)
}

// conePorts are the ports that each host behind a full cone gets, from the first on.
const (
	conePorts     = 10_000
	firstConePort = 10_000
)

// forward gives the ports of the i-th place inside.
func (b *Box) forward(i int) string {
	from := firstConePort + i*conePorts
	return fmt.Sprintf("%s=%d-%d", after(b.v4, 2+i), from, from+conePorts-1)
}

// ready waits until the box takes its faults: then its rules are set.
func (b *Box) ready(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	tick := time.NewTicker(readyEvery)
	defer tick.Stop()
	for {
		err := natbox.Set(ctx, b.control, b.cfg.Faults)
		if err == nil {
			return nil
		}
		select {
		case <-b.process.Done():
			return fmt.Errorf("ended before it was ready (%s): %v", b.process.Ended(), b.process.Tail(5))
		case <-ctx.Done():
			return err
		case <-tick.C:
		}
	}
}

// SetFaults changes what is wrong with the box's line.
func (b *Box) SetFaults(ctx context.Context, f natbox.Faults) error {
	return natbox.Set(ctx, b.control, f)
}

// Outside is the box's address on the side of the public network.
func (b *Box) Outside() netip.Addr { return b.outside.address.Addr() }

// Proxy is the URL of the box's proxy as hosts behind it use it; empty when it has none.
func (b *Box) Proxy() string {
	if b.cfg.Kind != natbox.HTTPProxy {
		return ""
	}
	login := b.cfg.ProxyLogin
	if login != "" {
		login += "@"
	}
	return fmt.Sprintf("http://%s%s:%d", login, after(b.v4, 1), natbox.ProxyPort)
}

// place gives the next one on the network inside.
func (b *Box) place() (cable, error) {
	if b.places == hostsPerBox {
		return cable{}, fmt.Errorf("behind %s: at most %d", b.cfg.Name, hostsPerBox)
	}
	c := cable{address: netip.PrefixFrom(after(b.v4, 2+b.places), b.v4.Bits()), gateway: after(b.v4, 1)}
	if b.v6.IsValid() {
		c.address6, c.gateway6 = netip.PrefixFrom(after(b.v6, 2+b.places), b.v6.Bits()), after(b.v6, 1)
	}
	b.places++
	return c, nil
}
