package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"slices"
	"strings"
	"syscall"
	"time"

	"amesh/dht"
	"amesh/internal/exporter"
)

// stunDefault is the port of STUN (RFC 8489 §8.6) and off what switches it off.
const (
	stunDefault = "3478"
	off         = "off"
)

// serverListen finds out where a server listens: at its flag's address, if there is
// one, else at its usual port. HOST and PORT are the environment of AgentMesh's servers
// (AgentMesh §2.1, §3).
func (a *app) serverListen(flag, usual string, secure tlsOptions) (addr string, isDefault bool) {
	if flag != "" {
		return flag, false
	}
	host, port := a.getenv("HOST"), a.getenv("PORT")
	if port == "" && len(secure.domains) > 0 {
		port = httpsPort // the one place where an authority looks
	}
	if port != "" {
		return net.JoinHostPort(host, port), false
	}
	return net.JoinHostPort(host, strings.TrimPrefix(usual, ":")), true
}

// listenSTUN opens the socket of the STUN server beside a relay: where it is told,
// or on the usual port of all interfaces, or of loopback only if the relay is there.
// Off gives none.
func listenSTUN(addr string, loopback bool, tell func(line string)) (*net.UDPConn, error) {
	if addr == off {
		return nil, nil
	}
	isDefault := addr == ""
	if isDefault {
		host := ""
		if loopback {
			host = "127.0.0.1"
		}
		addr = net.JoinHostPort(host, stunDefault)
	}
	conn, err := net.ListenPacket("udp", addr)
	if isDefault && errors.Is(err, syscall.EADDRINUSE) {
		host, _, _ := net.SplitHostPort(addr)
		if conn, err = net.ListenPacket("udp", net.JoinHostPort(host, "0")); err == nil {
			tell(fmt.Sprintf("udp port %s is taken, STUN listens on %s", stunDefault, conn.LocalAddr()))
		}
	}
	if dns, ok := errors.AsType[*net.DNSError](err); ok {
		return nil, usagef("--stun %s: %v", addr, dns).next("give an address of this machine, such as 127.0.0.1:3478, or off")
	}
	if err != nil {
		return nil, fmt.Errorf("stun: %w", err)
	}
	return conn.(*net.UDPConn), nil
}

// besideSTUN opens the second socket of the STUN server: on the next port, or any. A
// server does without it when there is none.
func besideSTUN(first *net.UDPConn) *net.UDPConn {
	at := first.LocalAddr().(*net.UDPAddr)
	for _, port := range []int{at.Port + 1, 0} {
		if conn, err := net.ListenUDP("udp", &net.UDPAddr{IP: at.IP, Zone: at.Zone, Port: port}); err == nil {
			return conn
		}
	}
	return nil
}

// toldSTUN is what agents are told of the STUN server: the relay's name, or the
// address it listens on. On all interfaces that is the host that they dialled.
func toldSTUN(conn *net.UDPConn, name string) string {
	if conn == nil {
		return ""
	}
	at := conn.LocalAddr().(*net.UDPAddr).AddrPort()
	host, _, _ := net.SplitHostPort(name)
	if host == "" && !at.Addr().IsUnspecified() {
		host = at.Addr().Unmap().String()
	}
	return net.JoinHostPort(host, fmt.Sprint(at.Port()))
}

// toldLibp2p is what the relay's page says of its libp2p listeners: with a name the
// ways there by that name, without one every address.
func toldLibp2p(name string, addrs []string) []string {
	if name == "" {
		return addrs
	}
	var told []string
	for _, m := range addrs {
		if m = reachedBy(name, []string{m}); !slices.Contains(told, m) {
			told = append(told, m)
		}
	}
	return told
}

// parsePrefixes reads networks; an address is the network of itself.
func parsePrefixes(flag string, list []string) ([]netip.Prefix, error) {
	var all []netip.Prefix
	for _, s := range list {
		p, err := parsePrefix(s)
		if err != nil {
			return nil, usagef("%s %s: want an address or a network", flag, s).next("write it like 10.0.0.0/8, fd00::/8 or 192.0.2.7")
		}
		all = append(all, p)
	}
	return all, nil
}

func parsePrefix(s string) (netip.Prefix, error) {
	if ip, err := netip.ParseAddr(s); err == nil {
		ip = ip.Unmap().WithZone("")
		return netip.PrefixFrom(ip, ip.BitLen()), nil
	}
	p, err := netip.ParsePrefix(s)
	return p.Masked(), err
}

// relayAddresses is what --print-addrs writes.
type relayAddresses struct {
	Relay  string   `json:"relay"`
	Libp2p []string `json:"libp2p"`
	STUN   string   `json:"stun,omitempty"`
	// Metrics is the URL under which /metrics is.
	Metrics string `json:"metrics,omitempty"`
}

// relayReady says where the relay is, and waits for the end.
func (a *app) relayReady(ctx context.Context, o relayOptions, p *relayParts, started time.Time) error {
	select {
	case <-p.server.Ready():
	case <-ctx.Done():
		return nil
	}
	hosts := reachable(p.door)
	if o.name != "" {
		hosts = []string{o.name}
	}
	secure := o.tls.on()
	addrs := relayAddresses{Relay: relayURL(hosts[0], secure), Libp2p: dht.Multiaddrs(p.host), STUN: toldSTUN(p.stun, o.name)}
	if port, ok := strings.CutPrefix(addrs.STUN, ":"); ok {
		host, _, _ := net.SplitHostPort(hosts[0])
		addrs.STUN = net.JoinHostPort(host, port)
	}
	if p.numbers != nil {
		addrs.Metrics = "http://" + reachable(p.numbers)[0]
	}
	err := a.show(addrs, func(w io.Writer) {
		for _, h := range hosts {
			fmt.Fprintf(w, "relay      %s\n", relayURL(h, secure))
		}
		for _, m := range addrs.Libp2p {
			fmt.Fprintf(w, "libp2p     %s\n", m)
		}
		if addrs.STUN != "" {
			fmt.Fprintf(w, "stun       %s\n", addrs.STUN)
		}
		if addrs.Metrics != "" {
			fmt.Fprintf(w, "metrics    %s%s\n", addrs.Metrics, exporter.Path)
		}
		fmt.Fprintf(w, "data       %s\n", o.data)
		for _, h := range hosts {
			fmt.Fprintf(w, "use it     %s\n", upLine(h, secure, addrs.Libp2p))
		}
		fmt.Fprintf(w, "ready in %.1f s\n", time.Since(started).Seconds())
	})
	if err != nil {
		return err
	}
	if err := writeAddresses(o.printAddresses, addrs); err != nil {
		return err
	}
	return managerOf(a.getenv).run(ctx, func() { p.server.Stats() })
}

// relayURL is the URL of a relay at host. Behind port 443 there is TLS, whoever speaks
// it.
func relayURL(host string, secure bool) string {
	scheme := "ws://"
	if _, port, err := net.SplitHostPort(host); secure || err == nil && port == httpsPort {
		scheme = "wss://"
	}
	return scheme + host + relayPath
}

// upLine is what to paste on the machine of a node.
func upLine(host string, secure bool, libp2p []string) string {
	line := "amesh up --relay " + relayURL(host, secure)
	if at := reachedBy(host, libp2p); at != "" {
		line += " --bootstrap " + at
	}
	return line
}
