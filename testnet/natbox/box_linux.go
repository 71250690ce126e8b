package natbox

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strconv"
	"sync"
	"time"
)

// side is one of a box's interfaces.
type side struct {
	ifname  string
	address net.HardwareAddr
	hold    *hold // nil until there is a delay
}

// running is a box at work.
type running struct {
	ctx   context.Context
	box   *Box
	in    [2]*net.Interface
	sides [2]side
	fail  chan error // one from each service at most
	wg    sync.WaitGroup
}

// Run sets the rules and works until ctx ends. Afterwards no rule is left, also when it
// fails.
func (b *Box) Run(ctx context.Context) (err error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	r := &running{ctx: ctx, box: b, fail: make(chan error, 4)}
	if err := r.look(); err != nil {
		return fmt.Errorf("natbox: %w", err)
	}
	defer func() {
		cancel()
		r.wg.Wait()
		if cleanup := removeRules(); cleanup != nil {
			err = errors.Join(err, fmt.Errorf("natbox: %w", cleanup))
		}
	}()
	if err := r.start(); err != nil {
		return fmt.Errorf("natbox: %w", err)
	}
	close(b.ready)
	b.log.Info("box is ready", "kind", b.cfg.Kind, "inside", r.sides[0].ifname, "outside", r.sides[1].ifname, "ipv6", b.cfg.IPv6, "faults", b.cfg.Faults.String())
	select {
	case <-ctx.Done():
		return nil
	case err := <-r.fail:
		return fmt.Errorf("natbox: %w", err)
	}
}

// look finds the interfaces, and whether the kernel forwards.
func (r *running) look() error {
	for i, what := range []string{r.box.cfg.Inside, r.box.cfg.Outside} {
		in, err := findInterface(what)
		if err != nil {
			return err
		}
		r.in[i] = in
		r.sides[i] = side{ifname: in.Name, address: in.HardwareAddr}
	}
	if r.box.cfg.Kind == HTTPProxy {
		return nil
	}
	if err := switchOn("net.ipv4.ip_forward"); err != nil {
		return err
	}
	if r.box.cfg.IPv6 {
		return switchOn("net.ipv6.conf.all.forwarding")
	}
	return nil
}

// start sets rules and faults, and starts the services. The rules are first: nothing may
// pass a box that is not one yet.
func (r *running) start() error {
	cfg := r.box.cfg
	if err := r.box.writeRules(r.sides[0].ifname, r.sides[1].ifname); err != nil {
		return err
	}
	if err := r.apply(cfg.Faults); err != nil {
		return err
	}
	if cfg.Kind == HTTPProxy {
		l, err := net.Listen("tcp", ":"+strconv.Itoa(ProxyPort))
		if err != nil {
			return fmt.Errorf("proxy: %w", err)
		}
		p := newProxy(cfg.ProxyLogin, proxiedPort, r.box.log)
		r.serve(func() error { return p.serve(r.ctx, l) })
	}
	if cfg.Control == "" {
		return nil
	}
	l, err := listenControl(cfg.Control)
	if err != nil {
		return err
	}
	r.serve(func() error { return serveControl(r.ctx, l, r.applyAndSay) })
	return nil
}

func (r *running) serve(run func() error) {
	r.wg.Go(func() {
		if err := run(); err != nil {
			r.fail <- err
		}
	})
}

func (r *running) applyAndSay(f Faults) error {
	if err := r.apply(f); err != nil {
		return err
	}
	r.box.log.Info("faults changed", "faults", f.String())
	return nil
}

// apply puts faults in force. Holders are made for the first delay and stay.
func (r *running) apply(f Faults) error {
	for i, name := range []string{holdInside, holdOutside} {
		s := &r.sides[i]
		if f.Delay > 0 && s.hold == nil {
			h, err := openHold(name, r.in[i])
			if err != nil {
				return err
			}
			s.hold = h
			r.serve(func() error { return h.run(r.ctx) })
		}
		if s.hold != nil {
			s.hold.delay.Store(int64(max(f.Delay, time.Duration(0))))
		}
	}
	return writeFaults(r.sides, f)
}
