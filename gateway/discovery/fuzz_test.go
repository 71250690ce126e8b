package discovery

import (
	"testing"

	"github.com/miekg/dns"
)

// Whatever bytes a resolver sends, reading them ends, and gives no more than was sent.
func FuzzAnswer(f *testing.F) {
	q := new(dns.Msg).SetQuestion("_amtp.north.test.", dns.TypeTXT)
	q.Id = 1
	z := newZone(txt("north.test", 60, good), "_amtp.south.test. 30 IN CNAME _amtp.north.test.", `_amtp.west.test. 30 IN TXT "a\"\\\200" "b"`)
	for _, name := range []string{"_amtp.north.test.", "_amtp.south.test.", "_amtp.west.test.", "none.test."} {
		m := z.answer(new(dns.Msg).SetQuestion(name, dns.TypeTXT))
		m.Id = 1
		packed, err := m.Pack()
		if err != nil {
			f.Fatal(err)
		}
		f.Add(packed, name)
	}
	f.Fuzz(func(t *testing.T, packed []byte, name string) {
		m := new(dns.Msg)
		if m.Unpack(packed) != nil {
			return
		}
		_ = answers(m, q)
		_ = absence(m)
		length := 0
		for _, v := range read(m, name).values {
			length += len(v)
		}
		if length > 64<<10 && len(packed) <= maxAnswer {
			t.Errorf("%d bytes of text in an answer of %d", length, len(packed))
		}
	})
}
