package nat_test

import (
	"testing"

	"amesh/testnet/natbox"
)

// place is where a node is: behind one box, or behind two.
type place string

const (
	atOpen       place = "open"
	atFullCone   place = "full-cone"
	atRestricted place = "port-restricted"
	atSymmetric  place = "symmetric"
	atDouble     place = "double-nat" // port-restricted behind port-restricted
	atBlocked    place = "udp-blocked"
	atProxy      place = "http-proxy"
)

// places are all of them, in the order of the table.
var places = []place{atOpen, atFullCone, atRestricted, atSymmetric, atDouble, atBlocked, atProxy}

// boxes are what is between the public network and a node, the outermost first.
func (p place) boxes() []natbox.Kind {
	if p == atDouble {
		return []natbox.Kind{natbox.PortRestricted, natbox.PortRestricted}
	}
	return []natbox.Kind{natbox.Kind(p)}
}

// cell is what two places make of each other.
type cell struct {
	direct bool // else: relayed
	why    string
}

func direct(why string) cell  { return cell{true, why} }
func relayed(why string) cell { return cell{false, why} }

// expected is the matrix. Mapping and filtering are meant as in RFC 4787 and RFC 5780:
// EIM and EIF are endpoint independent, APDM and APDF address and port dependent.
var expected = map[[2]place]cell{
	{atOpen, atOpen}:       direct("both have addresses that anybody may dial"),
	{atOpen, atFullCone}:   direct("the one behind the box dials"),
	{atOpen, atRestricted}: direct("the one behind the box dials"),
	{atOpen, atSymmetric}:  direct("the one behind the box dials, and whatever port it gets, the open one answers to it"),
	{atOpen, atDouble}:     direct("the one behind the boxes dials"),
	{atOpen, atBlocked}:    direct("the one without UDP dials by TCP"),
	{atOpen, atProxy}:      relayed("the proxy connects to port 443 and to nothing else, and no node is there"),

	{atFullCone, atFullCone}:   direct("EIM at both ends, and anybody may answer"),
	{atFullCone, atRestricted}: direct("EIM at both ends: what the mapped ports send first opens the filters"),
	{atFullCone, atSymmetric}:  direct("the cone's port is known and takes anybody, so the symmetric one's new port may come"),
	{atFullCone, atDouble}:     direct("EIM of two boxes in a row is EIM"),
	{atFullCone, atBlocked}:    relayed("no UDP at one end, and TCP is not punched"),
	{atFullCone, atProxy}:      relayed("nothing but the proxy at one end"),

	{atRestricted, atRestricted}: direct("EIM at both ends: both send first, and each opens its own filter"),
	{atRestricted, atSymmetric}:  relayed("APDM against APDF: the new port is not the one that was talked to, and nobody can know it"),
	{atRestricted, atDouble}:     direct("EIM of two boxes in a row is EIM"),
	{atRestricted, atBlocked}:    relayed("no UDP at one end, and TCP is not punched"),
	{atRestricted, atProxy}:      relayed("nothing but the proxy at one end"),

	{atSymmetric, atSymmetric}: relayed("APDM at both ends: nobody can know the port that he is to talk to"),
	{atSymmetric, atDouble}:    relayed("APDM against APDF, as with one box"),
	{atSymmetric, atBlocked}:   relayed("no UDP at one end, and TCP is not punched"),
	{atSymmetric, atProxy}:     relayed("nothing but the proxy at one end"),

	{atDouble, atDouble}:  direct("EIM at both ends, as with one box each"),
	{atDouble, atBlocked}: relayed("no UDP at one end, and TCP is not punched"),
	{atDouble, atProxy}:   relayed("nothing but the proxy at one end"),

	{atBlocked, atBlocked}: relayed("no UDP at both ends, and TCP is not punched"),
	{atBlocked, atProxy}:   relayed("nothing but the proxy at one end"),

	{atProxy, atProxy}: relayed("nothing but a proxy at both ends"),
}

// expect finds a cell, whoever of the two asked the other.
func expect(a, b place) cell {
	if c, ok := expected[[2]place{a, b}]; ok {
		return c
	}
	return expected[[2]place{b, a}]
}

// traits are what decides, for one place.
type traits struct {
	udp, dialled bool // UDP gets out; a stranger's dial gets in
	tcp          bool // TCP to any port gets out
	eim, eif     bool
}

var traitsOf = map[place]traits{
	atOpen:       {udp: true, dialled: true, tcp: true, eim: true, eif: true},
	atFullCone:   {udp: true, tcp: true, eim: true, eif: true},
	atRestricted: {udp: true, tcp: true, eim: true},
	atSymmetric:  {udp: true, tcp: true},
	atDouble:     {udp: true, tcp: true, eim: true},
	atBlocked:    {tcp: true},
	atProxy:      {},
}

// The table is written by hand, for people. What the RFCs say has to give the same.
func TestTableIsWhatTheKindsMakePossible(t *testing.T) {
	possible := func(a, b traits) bool {
		switch {
		case a.dialled && (b.udp || b.tcp), b.dialled && (a.udp || a.tcp):
			return true
		case !a.udp || !b.udp:
			return false
		}
		// Somebody's port must be known, and the other's packets must pass there:
		// because anybody's do, or because his port is known as well.
		return a.eim && (a.eif || b.eim) || b.eim && (b.eif || a.eim)
	}
	for i, a := range places {
		for j, b := range places {
			c, here := expected[[2]place{a, b}]
			if here != (j >= i) {
				t.Errorf("%s and %s: stands in the table: %v", a, b, here)
			}
			if here && c.why == "" {
				t.Errorf("%s and %s: no reason", a, b)
			}
			if got := expect(a, b); got.direct != possible(traitsOf[a], traitsOf[b]) {
				t.Errorf("%s and %s: direct %v in the table, the RFCs say otherwise", a, b, got.direct)
			}
		}
	}
}
