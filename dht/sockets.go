package dht

import (
	"errors"
	"fmt"
	"net"
	"sync"

	"github.com/libp2p/go-libp2p/core/connmgr"
	"github.com/libp2p/go-libp2p/core/crypto"
	"github.com/libp2p/go-libp2p/core/network"
	"github.com/libp2p/go-libp2p/core/pnet"
	"github.com/libp2p/go-libp2p/core/transport"
	quic "github.com/libp2p/go-libp2p/p2p/transport/quic"
	"github.com/libp2p/go-libp2p/p2p/transport/quicreuse"
	ma "github.com/multiformats/go-multiaddr"
	manet "github.com/multiformats/go-multiaddr/net"
)

// Sockets share the UDP sockets of a host's QUIC with one other protocol: a hole that is
// punched from another socket would be none for QUIC. The zero value is ready to be
// given to NewHost; it belongs to one host.
type Sockets struct {
	mu      sync.Mutex
	manager *quicreuse.ConnManager
	listen  func() []ma.Multiaddr
}

// Share returns one connection for each UDP socket on which the host listens. What is
// read from it is everything that can't be QUIC, what is written goes out from the
// host's own port. Only one reader may share a socket at a time; the caller closes the
// connections, which leaves the host's sockets open.
func (s *Sockets) Share() ([]net.PacketConn, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.manager == nil {
		return nil, errors.New("sockets: no host was made with them")
	}
	var list []net.PacketConn
	for _, a := range s.listen() {
		if _, err := a.ValueForProtocol(ma.P_QUIC_V1); err != nil {
			continue
		}
		c, err := s.share(a)
		if err != nil {
			for _, c := range list {
				_ = c.Close()
			}
			return nil, fmt.Errorf("share %s: %w", a, err)
		}
		list = append(list, c)
	}
	return list, nil
}

func (s *Sockets) share(a ma.Multiaddr) (net.PacketConn, error) {
	network, text, err := manet.DialArgs(a)
	if err != nil {
		return nil, err
	}
	addr, err := net.ResolveUDPAddr(network, text)
	if err != nil {
		return nil, err
	}
	return s.manager.SharedNonQUICPacketConn(network, addr)
}

// transport makes the QUIC transport and keeps what its sockets belong to.
func (s *Sockets) transport(key crypto.PrivKey, m *quicreuse.ConnManager, psk pnet.PSK, gater connmgr.ConnectionGater, r network.ResourceManager) (transport.Transport, error) {
	s.mu.Lock()
	if s.manager == nil { // the host comes first; AutoNAT's dialler has another one
		s.manager = m
	}
	s.mu.Unlock()
	return quic.NewTransport(key, m, psk, gater, r)
}

func (s *Sockets) of(n network.Network) {
	s.mu.Lock()
	s.listen = n.ListenAddresses
	s.mu.Unlock()
}
