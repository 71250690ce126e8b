package natbox

import (
	"encoding/binary"
	"net/netip"

	"github.com/google/nftables"
	"github.com/google/nftables/binaryutil"
	"github.com/google/nftables/expr"
	"golang.org/x/sys/unix"
)

// The tables of a box. Nobody else's are touched.
const (
	filterName = "amesh-natbox"
	faultsName = "amesh-natbox-faults"
)

// words are what a box's tables are written in. Each is a part of a rule; a rule is some of
// them in a row, and does what its last word says when all match.
type words = []expr.Any

func rule(parts ...words) words {
	var all words
	for _, p := range parts {
		all = append(all, p...)
	}
	return all
}

func equals(data []byte) expr.Any { return &expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: data} }

// name is an interface's as the kernel compares it.
func name(ifname string) []byte {
	b := make([]byte, unix.IFNAMSIZ)
	copy(b, ifname)
	return b
}

func comesFrom(ifname string) words {
	return words{&expr.Meta{Key: expr.MetaKeyIIFNAME, Register: 1}, equals(name(ifname))}
}

func leavesTo(ifname string) words {
	return words{&expr.Meta{Key: expr.MetaKeyOIFNAME, Register: 1}, equals(name(ifname))}
}

func isFamily(nfproto byte) words {
	return words{&expr.Meta{Key: expr.MetaKeyNFPROTO, Register: 1}, equals([]byte{nfproto})}
}

func isTransport(proto byte) words {
	return words{&expr.Meta{Key: expr.MetaKeyL4PROTO, Register: 1}, equals([]byte{proto})}
}

func ethertype(is uint16) words {
	return words{&expr.Meta{Key: expr.MetaKeyPROTOCOL, Register: 1}, equals(be16(is))}
}

// portFrom matches ports of the destination. They stand at the same place in TCP and UDP.
func portFrom(from, to uint16) words {
	return words{
		&expr.Payload{DestRegister: 1, Base: expr.PayloadBaseTransportHeader, Offset: 2, Len: 2},
		&expr.Range{Op: expr.CmpOpEq, Register: 1, FromData: be16(from), ToData: be16(to)},
	}
}

// portOfAnswer matches the port of the source.
func portOfAnswer(port uint16) words {
	return words{
		&expr.Payload{DestRegister: 1, Base: expr.PayloadBaseTransportHeader, Offset: 0, Len: 2},
		equals(be16(port)),
	}
}

// hasState matches packets whose connection is in one of the states.
func hasState(states uint32) words {
	return words{
		&expr.Ct{Register: 1, Key: expr.CtKeySTATE},
		&expr.Bitwise{SourceRegister: 1, DestRegister: 1, Len: 4, Mask: binaryutil.NativeEndian.PutUint32(states), Xor: make([]byte, 4)},
		&expr.Cmp{Op: expr.CmpOpNeq, Register: 1, Data: make([]byte, 4)},
	}
}

// known are connections that somebody inside began.
func known() words { return hasState(expr.CtStateBitESTABLISHED | expr.CtStateBitRELATED) }

func accept() words { return words{&expr.Verdict{Kind: expr.VerdictAccept}} }
func drop() words   { return words{&expr.Verdict{Kind: expr.VerdictDrop}} }

// forwardTo sends a connection to an inside host, at the port that it came to.
func forwardTo(host netip.Addr) words {
	return words{
		&expr.Immediate{Register: 1, Data: host.AsSlice()},
		&expr.NAT{Type: expr.NATTypeDestNAT, Family: unix.NFPROTO_IPV4, RegAddrMin: 1},
	}
}

// neighbourTalk matches what finds and keeps neighbours in IPv6, which is ICMPv6 of the
// types 133 to 137.
func neighbourTalk() words {
	return rule(isTransport(unix.IPPROTO_ICMPV6), words{
		&expr.Payload{DestRegister: 1, Base: expr.PayloadBaseTransportHeader, Offset: 0, Len: 1},
		&expr.Range{Op: expr.CmpOpEq, Register: 1, FromData: []byte{133}, ToData: []byte{137}},
	})
}

// byChance matches that many of lossSteps packets.
func byChance(n uint32) words {
	return words{
		&expr.Numgen{Register: 1, Modulus: lossSteps, Type: unix.NFT_NG_RANDOM},
		// Compared byte by byte, so the number has to stand with its highest byte first.
		&expr.Byteorder{SourceRegister: 1, DestRegister: 1, Op: expr.ByteorderHton, Len: 4, Size: 4},
		&expr.Cmp{Op: expr.CmpOpLt, Register: 1, Data: binary.BigEndian.AppendUint32(nil, n)},
	}
}

// takenBy sends the frame out through another interface instead.
func takenBy(index int) words {
	return rule(words{
		&expr.Immediate{Register: 1, Data: binaryutil.NativeEndian.PutUint32(uint32(index))},
		&expr.Dup{RegDev: 1, IsRegDevSet: true},
	}, drop())
}

func be16(n uint16) []byte { return binary.BigEndian.AppendUint16(nil, n) }

// page is one chain of a table while it is written.
type page struct {
	conn  *nftables.Conn
	chain *nftables.Chain
}

func (p page) say(parts ...words) {
	p.conn.AddRule(&nftables.Rule{Table: p.chain.Table, Chain: p.chain, Exprs: rule(parts...)})
}

// freshTable replaces a table by an empty one in the same transaction, whether it was
// there or not.
func freshTable(conn *nftables.Conn, family nftables.TableFamily, name string) *nftables.Table {
	t := &nftables.Table{Family: family, Name: name}
	conn.AddTable(t)
	conn.DelTable(t)
	return conn.AddTable(t)
}
