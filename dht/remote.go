package dht

import (
	"github.com/libp2p/go-libp2p/core/network"
	"github.com/libp2p/go-libp2p/p2p/transport/quicreuse"
	ma "github.com/multiformats/go-multiaddr"
	"github.com/quic-go/quic-go"
)

// RemoteNow is where the other end of a connection is now. A QUIC connection goes on
// when the end that dialled gets another address; RemoteMultiaddr says where it began.
func RemoteNow(c network.Conn) ma.Multiaddr {
	var conn *quic.Conn
	if !c.As(&conn) {
		return c.RemoteMultiaddr()
	}
	at, err := quicreuse.ToQuicMultiaddr(conn.RemoteAddr(), conn.ConnectionState().Version)
	if err != nil {
		return c.RemoteMultiaddr()
	}
	return at
}
