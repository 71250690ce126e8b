package ice

import (
	"encoding/hex"
	"net/netip"
	"testing"
)

// Whatever comes in on the socket, it is for somebody who waits for it, or for nobody.
func FuzzDatagram(f *testing.F) {
	for _, s := range []string{
		"000100002112a442" + transaction,
		"0101000c2112a442" + transaction + "002000080001a147e112a643",
		"000100082112a442" + transaction + "00060004" + hex.EncodeToString([]byte("me:x")),
		"011100102112a442" + transaction + "0009000400000414000a000200030000",
	} {
		f.Add(unhex(f, s))
	}
	p, err := New(Config{Sockets: anySockets})
	if err != nil {
		f.Fatal(err)
	}
	from := netip.MustParseAddrPort("8.9.10.11:47777")
	f.Fuzz(func(t *testing.T, data []byte) {
		s := &socket{puncher: p, asks: make(map[transactionID]chan<- datagram)}
		a := &Attempt{ufrag: "me", budget: newBudget(p.limits)}
		a.ports = ports{newPort(s, a.budget, p.rules())}
		p.attempts = map[string]*Attempt{"me": a}
		answers := make(chan datagram, 1)
		s.expect(transactionID(unhex(t, transaction)), answers)
		if !wellFormed(data) {
			return
		}
		s.dispatch(datagram{data: data, from: from})
		if len(answers)+len(a.ports[0].in) > 1 {
			t.Fatal("one datagram for two")
		}
		if len(answers) == 1 {
			parseReply(<-answers, from)
		}
	})
}
