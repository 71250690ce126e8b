package netns

import (
	"context"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"amesh/testnet/process"
)

// serverPort is that of relays and registries, because it is the one that proxies let
// through.
const serverPort = "443"

// Server is a relay or a registry on the public network, and the process that it is.
type Server struct {
	*Host
	URL       string   // wss://…/v1/connect or https://…
	Bootstrap []string // multiaddrs of a relay's DHT server

	kind    string
	process *process.Process
}

// Relay starts a relay, with its STUN and DHT servers.
func (w *World) Relay(ctx context.Context, name string) (*Server, error) {
	return w.server(ctx, name, "relay")
}

// Registry starts a registry.
func (w *World) Registry(ctx context.Context, name string) (*Server, error) {
	return w.server(ctx, name, "registry")
}

func (w *World) server(ctx context.Context, name, kind string) (*Server, error) {
	h, err := w.Host(ctx, name, nil)
	if err != nil {
		return nil, err
	}
	s := &Server{Host: h, kind: kind}
	if err := w.ca.issue(s.file(".pem"), s.file(".key"), h.IP(), h.IP6()); err != nil {
		return nil, fmt.Errorf("netns: %s: %w", name, err)
	}
	if err := s.Up(ctx); err != nil {
		return nil, err
	}
	return s, nil
}

// file is one of the server's.
func (s *Server) file(end string) string { return filepath.Join(s.world.cfg.Dir, s.name+end) }

// Up starts the server's process and waits until it serves. It has the same data, address
// and certificate each time.
func (s *Server) Up(ctx context.Context) error {
	at := net.JoinHostPort(s.IP().String(), serverPort)
	args := []string{s.kind, "--home", s.file(".home"), "--listen", ":" + serverPort, "--data", s.file(".data"),
		"--tls-cert", s.file(".pem"), "--tls-key", s.file(".key"), "--print-addrs", s.file(".json")}
	if s.kind == "relay" {
		args = append(args, "--name", at, "--stun", ":3478",
			"--libp2p", "/ip4/0.0.0.0/udp/47777/quic-v1", "--libp2p", "/ip4/0.0.0.0/tcp/47777", "--libp2p", "/ip6/::/udp/47777/quic-v1")
	}
	if err := os.RemoveAll(s.file(".json")); err != nil {
		return fmt.Errorf("netns: %s: %w", s.name, err)
	}
	p, err := s.Start(process.Config{Name: s.name, Binary: s.world.cfg.Binary, Args: args, Dir: s.world.cfg.Dir, Log: s.file(".log")})
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	var told struct{ Libp2p []string }
	if err := p.Ready(ctx, s.file(".json"), readyEvery, &told); err != nil {
		return fmt.Errorf("netns: %w: %v", err, p.Tail(5))
	}
	s.process, s.Bootstrap = p, s.reachable(told.Libp2p)
	s.URL = "https://" + at
	if s.kind == "relay" {
		s.URL = "wss://" + at + "/v1/connect"
	}
	return nil
}

// reachable are the multiaddrs with the server's own address.
func (s *Server) reachable(all []string) []string {
	return slices.DeleteFunc(slices.Clone(all), func(m string) bool { return !strings.Contains(m, "/ip4/"+s.IP().String()+"/") })
}

// Process is the server's.
func (s *Server) Process() *process.Process { return s.process }

// Down kills the server's process.
func (s *Server) Down() error { return s.process.Kill() }
