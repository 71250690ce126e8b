package natbox

import (
	"fmt"

	"github.com/google/nftables"
	"github.com/google/nftables/expr"
	"golang.org/x/sys/unix"
)

const dnsPort = 53

// writeRules puts the kind's rules in force, in one transaction.
func (b *Box) writeRules(inside, outside string) error {
	conn, err := nftables.New()
	if err != nil {
		return fmt.Errorf("nftables: %w", err)
	}
	// What was held for a delay comes from the holder instead of from the outside.
	from := []string{outside, holdOutside}
	filter := freshTable(conn, nftables.TableFamilyINet, filterName)
	b.writeForward(chain(conn, filter, "passing", nftables.ChainHookForward, nftables.ChainTypeFilter), from, outside)
	b.writeInput(chain(conn, filter, "arriving", nftables.ChainHookInput, nftables.ChainTypeFilter), from, inside)
	nat := freshTable(conn, nftables.TableFamilyIPv4, filterName)
	if b.cfg.Kind.translates() {
		out := chain(conn, nat, "leaving", nftables.ChainHookPostrouting, nftables.ChainTypeNAT)
		masquerade := &expr.Masq{Persistent: true}
		if b.cfg.Kind == Symmetric {
			masquerade = &expr.Masq{Random: true}
		}
		out.say(leavesTo(outside), words{masquerade})
	}
	if b.cfg.Kind == FullCone {
		in := chain(conn, nat, "coming", nftables.ChainHookPrerouting, nftables.ChainTypeNAT)
		for _, f := range b.cfg.Forwards {
			for _, ifname := range from {
				for _, proto := range []byte{unix.IPPROTO_UDP, unix.IPPROTO_TCP} {
					in.say(comesFrom(ifname), isTransport(proto), portFrom(f.From, f.To), forwardTo(f.Host))
				}
			}
		}
	}
	if err := conn.Flush(); err != nil {
		return fmt.Errorf("set rules, which needs CAP_NET_ADMIN: %w", err)
	}
	return nil
}

// writeForward says what passes between the sides.
func (b *Box) writeForward(passing page, from []string, outside string) {
	kind := b.cfg.Kind
	if kind == HTTPProxy {
		passing.say(drop())
		return
	}
	if !b.cfg.IPv6 {
		passing.say(isFamily(unix.NFPROTO_IPV6), drop())
	}
	if kind == UDPBlocked {
		passing.say(leavesTo(outside), isTransport(unix.IPPROTO_UDP), portFrom(dnsPort, dnsPort), accept())
		for _, ifname := range from {
			passing.say(comesFrom(ifname), isTransport(unix.IPPROTO_UDP), portOfAnswer(dnsPort), known(), accept())
		}
		passing.say(isTransport(unix.IPPROTO_UDP), drop())
	}
	if kind == Open || kind == FullCone {
		return
	}
	for _, ifname := range from {
		passing.say(comesFrom(ifname), known(), accept())
		passing.say(comesFrom(ifname), drop())
	}
}

// writeInput says what the box itself takes.
func (b *Box) writeInput(arriving page, from []string, inside string) {
	for _, ifname := range from {
		arriving.say(comesFrom(ifname), neighbourTalk(), accept())
		if b.cfg.Kind != Open {
			arriving.say(comesFrom(ifname), hasState(expr.CtStateBitNEW), drop())
		}
	}
	if b.cfg.Kind != HTTPProxy {
		return
	}
	for _, ifname := range []string{inside, holdInside} {
		arriving.say(comesFrom(ifname), neighbourTalk(), accept())
		arriving.say(comesFrom(ifname), isTransport(unix.IPPROTO_TCP), portFrom(ProxyPort, ProxyPort), accept())
		arriving.say(comesFrom(ifname), drop())
	}
}

// writeFaults puts faults in force in place of those before, in one transaction. They
// stand where frames come in, before anything else looks at them, so that a
// packet meets them once, whatever becomes of it.
func writeFaults(sides [2]side, f Faults) error {
	conn, err := nftables.New()
	if err != nil {
		return fmt.Errorf("nftables: %w", err)
	}
	table := freshTable(conn, nftables.TableFamilyNetdev, faultsName)
	for _, s := range sides {
		in := page{conn, conn.AddChain(&nftables.Chain{
			Name: "from-" + s.ifname, Table: table, Type: nftables.ChainTypeFilter,
			Hooknum: nftables.ChainHookIngress, Priority: nftables.ChainPriorityFilter, Device: s.ifname,
		})}
		if f.Partition {
			in.say(drop())
			continue
		}
		for _, family := range []uint16{unix.ETH_P_IP, unix.ETH_P_IPV6} {
			faultsOf(in, family, s, f)
		}
	}
	if err := conn.Flush(); err != nil {
		return fmt.Errorf("set faults, which needs CAP_NET_ADMIN: %w", err)
	}
	return nil
}

// faultsOf writes them for one family. ARP and its like of IPv6 are left alone: a line
// loses packets, not neighbours.
func faultsOf(in page, family uint16, s side, f Faults) {
	if family == unix.ETH_P_IPV6 {
		in.say(ethertype(family), neighbourTalk(), accept())
	}
	if f.Loss > 0 {
		in.say(ethertype(family), byChance(uint32(f.Loss*lossSteps/100)), drop())
	}
	if f.Delay > 0 && s.hold != nil {
		in.say(ethertype(family), toUs(s.address), takenBy(s.hold.index))
	}
}

// toUs matches frames for one address of the link, and so nothing that is for several.
func toUs(mac []byte) words {
	return words{
		&expr.Payload{DestRegister: 1, Base: expr.PayloadBaseLLHeader, Offset: 0, Len: uint32(len(mac))},
		equals(mac),
	}
}

// removeRules leaves nothing.
func removeRules() error {
	conn, err := nftables.New()
	if err != nil {
		return fmt.Errorf("nftables: %w", err)
	}
	for family, name := range map[nftables.TableFamily]string{
		nftables.TableFamilyINet: filterName, nftables.TableFamilyIPv4: filterName, nftables.TableFamilyNetdev: faultsName,
	} {
		conn.DelTable(freshTable(conn, family, name))
	}
	if err := conn.Flush(); err != nil {
		return fmt.Errorf("remove rules: %w", err)
	}
	return nil
}

func chain(conn *nftables.Conn, t *nftables.Table, name string, hook *nftables.ChainHook, kind nftables.ChainType) page {
	priority := nftables.ChainPriorityFilter
	switch {
	case kind == nftables.ChainTypeNAT && hook == nftables.ChainHookPrerouting:
		priority = nftables.ChainPriorityNATDest
	case kind == nftables.ChainTypeNAT:
		priority = nftables.ChainPriorityNATSource
	}
	return page{conn, conn.AddChain(&nftables.Chain{Name: name, Table: t, Type: kind, Hooknum: hook, Priority: priority})}
}
