package dht

import (
	"context"
	"net"
	"slices"
	"time"

	"github.com/libp2p/go-libp2p"
	"github.com/libp2p/go-libp2p/core/host"
	ma "github.com/multiformats/go-multiaddr"
	manet "github.com/multiformats/go-multiaddr/net"
)

// Announce says which of its addresses a host tells to everybody: to those who connect
// (identify), to the servers of the table, which pass them on, and to those who are
// asked to dial back (AutoNAT).
type Announce int

// What hosts announce.
const (
	// AnnounceAll is for servers, which are there to be found, in closed networks too.
	AnnounceAll Announce = iota
	// AnnouncePublic tells addresses of the internet, and loopback ones while there are no
	// others. A private address would tell everybody about the owner's network and help
	// nobody.
	AnnouncePublic
	// AnnounceNothing leaves it to others to say whom an address is told (T66).
	AnnounceNothing
)

func (a Announce) options() []libp2p.Option {
	switch a {
	case AnnouncePublic:
		return []libp2p.Option{libp2p.AddrsFactory(public)}
	case AnnounceNothing:
		// Nobody is asked whether we can be reached, since nobody is to know where.
		return []libp2p.Option{libp2p.AddrsFactory(func([]ma.Multiaddr) []ma.Multiaddr { return nil }), libp2p.ForceReachabilityPrivate()}
	}
	return nil
}

func public(own []ma.Multiaddr) []ma.Multiaddr {
	if onlyLoopback(own) {
		return own
	}
	return slices.DeleteFunc(slices.Clone(own), func(a ma.Multiaddr) bool { return !manet.IsPublicAddr(a) })
}

// OwnAddrs are the addresses at which h can be reached as far as it knows, whatever it
// announces: those of its listeners, wildcards resolved, and the ports that a router
// gave it. They follow the machine's interfaces within 5 s.
func OwnAddrs(h host.Host) []ma.Multiaddr {
	if all, ok := h.(interface{ AllAddrs() []ma.Multiaddr }); ok {
		return all.AllAddrs()
	}
	return h.Addrs()
}

// WatchAddrs calls changed when the machine's addresses or those of h are others than
// before, until ctx ends. The host's own events are silent about addresses that it does
// not announce, and come late.
func WatchAddrs(ctx context.Context, h host.Host, changed func()) {
	var l lookout
	l.look(h)
	tick := time.NewTicker(watchEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
			if l.look(h) {
				changed()
			}
		}
	}
}

// lookout remembers addresses.
type lookout struct {
	machine []string
	host    []ma.Multiaddr
}

// look reports whether the addresses are others than last time.
func (l *lookout) look(h host.Host) bool {
	was := *l
	l.machine, l.host = machine(), OwnAddrs(h)
	return !slices.Equal(was.machine, l.machine) || !slices.EqualFunc(was.host, l.host, ma.Multiaddr.Equal)
}

// watchEvery is how often the interfaces are looked at.
const watchEvery = time.Second

// machine are the names of the interfaces that are up and the addresses of all, in order:
// two questions to the kernel, however many interfaces there are.
func machine() []string {
	var list []string
	interfaces, _ := net.Interfaces() // what cannot be told has not changed
	for _, i := range interfaces {
		if i.Flags&net.FlagUp != 0 && i.Flags&net.FlagRunning != 0 {
			list = append(list, i.Name)
		}
	}
	addrs, _ := net.InterfaceAddrs()
	for _, a := range addrs {
		list = append(list, a.String())
	}
	slices.Sort(list)
	return list
}
