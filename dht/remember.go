package dht

import (
	"context"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"slices"
	"time"

	"github.com/libp2p/go-libp2p/core/network"
	"github.com/libp2p/go-libp2p/core/peer"
	ma "github.com/multiformats/go-multiaddr"
)

// Memory is where a node keeps, across restarts, which servers it knew, so that it
// finds the table also when none of the servers that the owner named is there.
type Memory interface {
	// Load returns what was saved last; no bytes when nothing was.
	Load() ([]byte, error)
	// Save replaces it.
	Save(servers []byte) error
}

// servers is what is saved.
type servers struct {
	Version int      `json:"version"`
	Servers []string `json:"servers"` // multiaddrs ending in /p2p/
}

const (
	serversVersion = 1
	maxServersSize = 64 << 10
	chosenTag      = "amesh-chosen"
)

// recall reads the servers that were known when the node ran last. What is broken is
// as good as nothing: it is only a hint, and is written anew.
func (n *Node) recall() []peer.AddrInfo {
	if n.cfg.Memory == nil {
		return nil
	}
	raw, err := n.cfg.Memory.Load()
	if err != nil || len(raw) == 0 {
		if err != nil {
			n.log.Info("known dht servers not read", "err", err)
		}
		return nil
	}
	list, err := parseServers(raw)
	if err != nil {
		n.log.Info("known dht servers not read", "err", err)
		return nil
	}
	return slices.DeleteFunc(list, func(p peer.AddrInfo) bool { return p.ID == n.host.ID() })
}

func parseServers(raw []byte) ([]peer.AddrInfo, error) {
	if len(raw) > maxServersSize {
		return nil, fmt.Errorf("%d bytes, at most %d", len(raw), maxServersSize)
	}
	var s servers
	if err := json.Unmarshal(raw, &s); err != nil {
		return nil, err
	}
	if s.Version != serversVersion {
		return nil, fmt.Errorf("version %d", s.Version)
	}
	return ParseBootstrap(s.Servers)
}

// record saves the servers of the table, and those recalled while there is room: a
// table that is nearly empty shall not make us forget.
func (n *Node) record(run running) {
	if n.cfg.Memory == nil {
		return
	}
	var list []peer.AddrInfo
	for _, id := range run.table.RoutingTable().ListPeers() {
		if p := (peer.AddrInfo{ID: id, Addrs: n.dialled(id)}); len(p.Addrs) > 0 {
			list = append(list, p)
		}
	}
	rand.Shuffle(len(list), func(i, j int) { list[i], list[j] = list[j], list[i] })
	for _, p := range n.recalled {
		if !slices.ContainsFunc(list, func(o peer.AddrInfo) bool { return o.ID == p.ID }) {
			list = append(list, p)
		}
	}
	s := servers{Version: serversVersion, Servers: []string{}}
	for _, p := range list[:min(len(list), n.limits.Remembered)] {
		s.Servers = append(s.Servers, p.Addrs[0].String()+"/p2p/"+p.ID.String())
	}
	raw, err := json.MarshalIndent(s, "", " ")
	if err == nil {
		err = n.cfg.Memory.Save(append(raw, '\n'))
	}
	if err != nil {
		n.log.Info("known dht servers not saved", "err", err)
	}
}

// dialled are the addresses of connections to a peer that we made: nobody but us chose
// them, and they work.
func (n *Node) dialled(id peer.ID) []ma.Multiaddr {
	var list []ma.Multiaddr
	for _, c := range n.host.Network().ConnsToPeer(id) {
		if c.Stat().Direction == network.DirOutbound && transportOK(c.RemoteMultiaddr()) {
			list = append(list, c.RemoteMultiaddr())
		}
	}
	return list
}

// choose keeps connections to servers that we chose ourselves: whoever fills our table
// by coming to us still does not decide alone whom we ask. It saves the table now and
// then, and when it ends.
func (n *Node) choose(ctx context.Context, run running) {
	n.recalled = n.recall()
	look := time.NewTimer(0)
	defer look.Stop()
	saved := time.Now()
	chosen := make(map[peer.ID]bool)
	defer func() {
		for id := range chosen {
			n.host.ConnManager().Unprotect(id, chosenTag)
		}
	}()
	for {
		select {
		case <-ctx.Done():
			n.record(run)
			return
		case <-look.C:
		}
		n.chooseMore(ctx, run, chosen)
		if time.Since(saved) >= n.limits.RememberEvery {
			n.record(run)
			saved = time.Now()
		}
		look.Reset(n.limits.ChooseEvery)
	}
}

// chooseMore drops what is gone from chosen and dials until there are enough.
func (n *Node) chooseMore(ctx context.Context, run running, chosen map[peer.ID]bool) {
	for id := range chosen {
		if len(n.dialled(id)) == 0 {
			n.host.ConnManager().Unprotect(id, chosenTag)
			delete(chosen, id)
		}
	}
	var known []peer.AddrInfo
	for _, id := range run.table.RoutingTable().ListPeers() {
		known = append(known, peer.AddrInfo{ID: id})
	}
	rand.Shuffle(len(known), func(i, j int) { known[i], known[j] = known[j], known[i] })
	defer func() { n.chosen.Store(int32(len(chosen))) }()
	// Those from before come first: the table may have been filled by others since.
	for _, p := range append(slices.Clone(n.recalled), known...) {
		if len(chosen) >= n.limits.Chosen || ctx.Err() != nil {
			return
		}
		if _, anchor := n.kicks[p.ID]; anchor || chosen[p.ID] {
			continue
		}
		if n.call(ctx, p) {
			chosen[p.ID] = true
			n.host.ConnManager().Protect(p.ID, chosenTag)
		}
	}
	if len(known) > 0 {
		// Too few are known; whoever is nearest to us knows others.
		look, cancel := context.WithTimeout(ctx, n.limits.FindTimeout)
		defer cancel()
		if _, err := run.table.GetClosestPeers(look, string(n.host.ID())); err != nil {
			n.log.Debug("dht servers near us", "err", err)
		}
	}
}

// call makes sure of a connection that we dialled to a server that answers.
func (n *Node) call(ctx context.Context, p peer.AddrInfo) bool {
	ctx, cancel := context.WithTimeout(ctx, n.limits.DialTimeout)
	defer cancel()
	if len(n.dialled(p.ID)) == 0 {
		if n.host.Network().Connectedness(p.ID) == network.Connected {
			return false // it came to us
		}
		if err := n.host.Connect(ctx, p); err != nil {
			n.log.Debug("dht server not reached", "peer", p.ID.String(), "err", err)
			return false
		}
	}
	return n.probe(ctx, p.ID)
}
