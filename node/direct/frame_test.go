package direct

import (
	"bufio"
	"bytes"
	"encoding/hex"
	"errors"
	"io"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"amesh/identity"
	"amesh/internal/wire"
)

func amid(b byte) identity.AMID { return identity.AMID(bytes.Repeat([]byte{b}, identity.AMIDSize)) }

func id(b byte) [idSize]byte { return [idSize]byte(bytes.Repeat([]byte{b}, idSize)) }

var twoKeys = OneTimeKeys{X25519: bytes.Repeat([]byte{0x11}, 144), KEM: bytes.Repeat([]byte{0x22}, 1296)}

var diffFrame = cmp.AllowUnexported(frame{})

// Each frame once as a struct and once as bytes (session.md §11.2).
func TestFramesAsBytes(t *testing.T) {
	nonce := [nonceSize]byte{1, 2, 3, 4, 5, 6, 7, 8}
	cases := []struct {
		name  string
		hex   string
		bytes []byte
		frame frame
	}{
		{"hello", "06 01 01 00000000", appendHello(nil), frame{kind: typeHello}},
		{
			"envelope", "2d 01 02" + strings.Repeat("aa", 20) + strings.Repeat("bb", 20) + "a36d73",
			appendEnvelope(nil, amid(0xaa), amid(0xbb), []byte{0xa3, 0x6d, 0x73}),
			frame{kind: typeEnvelope, from: amid(0xaa), to: amid(0xbb), envelope: []byte{0xa3, 0x6d, 0x73}},
		},
		{
			"ack of one", "13 01 03 01" + strings.Repeat("11", 16),
			appendAcks(nil, [][idSize]byte{id(0x11)}),
			frame{kind: typeAck, ids: [][idSize]byte{id(0x11)}},
		},
		{
			"ack of two", "23 01 03 02" + strings.Repeat("11", 16) + strings.Repeat("22", 16),
			appendAcks(nil, [][idSize]byte{id(0x11), id(0x22)}),
			frame{kind: typeAck, ids: [][idSize]byte{id(0x11), id(0x22)}},
		},
		{"ping", "0a 01 04 0102030405060708", appendEcho(nil, typePing, nonce), frame{kind: typePing, nonce: nonce}},
		{"pong", "0a 01 05 0102030405060708", appendEcho(nil, typePong, nonce), frame{kind: typePong, nonce: nonce}},
		{"keys wanted", "16 01 06" + strings.Repeat("bb", 20), appendWanted(nil, amid(0xbb)), frame{kind: typeWanted, of: amid(0xbb)}},
		{
			"keys", "ba0b 01 07" + strings.Repeat("bb", 20) + "0090" + strings.Repeat("11", 144) + "0510" + strings.Repeat("22", 1296),
			appendKeys(nil, amid(0xbb), twoKeys), frame{kind: typeKeys, of: amid(0xbb), keys: twoKeys},
		},
		{
			"an X25519 key only", "aa01 01 07" + strings.Repeat("bb", 20) + "0090" + strings.Repeat("11", 144) + "0000",
			appendKeys(nil, amid(0xbb), OneTimeKeys{X25519: twoKeys.X25519}),
			frame{kind: typeKeys, of: amid(0xbb), keys: OneTimeKeys{X25519: twoKeys.X25519}},
		},
		{
			"no keys", "1a 01 07" + strings.Repeat("bb", 20) + "00000000",
			appendKeys(nil, amid(0xbb), OneTimeKeys{}), frame{kind: typeKeys, of: amid(0xbb)},
		},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			want := unhex(t, c.hex)
			if !bytes.Equal(c.bytes, want) {
				t.Errorf("written %x, want %x", c.bytes, want)
			}
			got, err := readFrame(bufio.NewReader(bytes.NewReader(want)), maxFrame)
			if err != nil {
				t.Fatal(err)
			}
			if d := cmp.Diff(c.frame, got, diffFrame); d != "" {
				t.Errorf("read (-want +got):\n%s", d)
			}
		})
	}
}

func TestHelloFeaturesAreIgnored(t *testing.T) {
	f, err := readFrame(bufio.NewReader(bytes.NewReader(unhex(t, "06 01 01 80000001"))), helloSize)
	if err != nil || f.features != 0x80000001 {
		t.Errorf("hello with unknown features: %v, %v", f, err)
	}
}

func TestLargestFrames(t *testing.T) {
	largest := appendEnvelope(nil, amid(1), amid(2), make([]byte, maxEnvelope))
	if len(largest) != frameSize(maxEnvelope) {
		t.Errorf("largest envelope takes %d bytes, frameSize says %d", len(largest), frameSize(maxEnvelope))
	}
	if _, err := readFrame(bufio.NewReader(bytes.NewReader(largest)), maxFrame); err != nil {
		t.Error(err)
	}
	ids := make([][idSize]byte, 2*maxAcks+1)
	r := bufio.NewReader(bytes.NewReader(appendAcks(nil, ids)))
	var counts []int
	for {
		f, err := readFrame(r, maxFrame)
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		counts = append(counts, len(f.ids))
	}
	if d := cmp.Diff([]int{maxAcks, maxAcks, 1}, counts); d != "" {
		t.Errorf("acks per frame (-want +got):\n%s", d)
	}
}

var refused = []struct{ name, hex string }{
	{"length zero", "00"},
	{"length one", "01 00"},
	{"length in two bytes where one does", "8600 0101 00000000"},
	{"length above 49,152", "818003 0102"},
	{"length of four bytes", "80808001"},
	{"version two", "06 02 01 00000000"},
	{"type zero", "06 01 00 00000000"},
	{"unknown type", "06 01 08 00000000"},
	{"hello too short", "05 01 01 000000"},
	{"hello too long", "07 01 01 0000000000"},
	{"envelope without recipient", "16 01 02" + strings.Repeat("aa", 20)},
	{"empty envelope", "2a 01 02" + strings.Repeat("aa", 40)},
	{"ack of nothing", "03 01 03 00"},
	{"ack with half an id", "0b 01 03 01" + strings.Repeat("11", 8)},
	{"ack with a byte left over", "14 01 03 01" + strings.Repeat("11", 17)},
	{"ping of seven bytes", "09 01 04 01020304050607"},
	{"pong of nine bytes", "0b 01 05 010203040506070809"},
	{"keys wanted of nobody", "02 01 06"},
	{"keys wanted with a byte left over", "17 01 06" + strings.Repeat("bb", 21)},
	{"keys without the second length", "18 01 07" + strings.Repeat("bb", 20) + "0000"},
	{"keys with a byte left over", "1b 01 07" + strings.Repeat("bb", 20) + "0000000000"},
	{"X25519 key of 143 bytes", "a901 01 07" + strings.Repeat("bb", 20) + "008f" + strings.Repeat("11", 143) + "0000"},
	{"X25519 key of 145 bytes", "ab01 01 07" + strings.Repeat("bb", 20) + "0091" + strings.Repeat("11", 145) + "0000"},
	{"KEM key in the place of the other", "aa0a 01 07" + strings.Repeat("bb", 20) + "0510" + strings.Repeat("22", 1296) + "0000"},
	{"X25519 key in the place of the other", "aa01 01 07" + strings.Repeat("bb", 20) + "0000" + "0090" + strings.Repeat("11", 144)},
}

func TestFramesRefused(t *testing.T) {
	for _, c := range refused {
		t.Run(c.name, func(t *testing.T) {
			f, err := readFrame(bufio.NewReader(bytes.NewReader(unhex(t, c.hex))), maxFrame)
			if !errors.Is(err, wire.ErrMalformed) {
				t.Errorf("read %+v, %v, want malformed", f, err)
			}
		})
	}
	t.Run("envelope of 45,185 bytes", func(t *testing.T) {
		raw := appendEnvelope(nil, amid(1), amid(2), make([]byte, maxEnvelope+1))
		if _, err := readFrame(bufio.NewReader(bytes.NewReader(raw)), maxFrame); !errors.Is(err, wire.ErrMalformed) {
			t.Errorf("read: %v, want malformed", err)
		}
	})
	t.Run("cut off", func(t *testing.T) {
		whole := appendAcks(nil, [][idSize]byte{id(1)})
		for n := range whole {
			if f, err := readFrame(bufio.NewReader(bytes.NewReader(whole[:n])), maxFrame); err == nil {
				t.Errorf("%d of %d bytes read as %+v", n, len(whole), f)
			}
		}
	})
}

// Whatever is accepted is the one encoding of what was understood.
func FuzzReadFrame(f *testing.F) {
	for _, c := range refused {
		f.Add(unhex(f, c.hex))
	}
	f.Add(appendHello(nil))
	f.Add(appendEnvelope(nil, amid(1), amid(2), []byte("x")))
	f.Add(appendAcks(nil, [][idSize]byte{id(1), id(2)}))
	f.Add(appendEcho(nil, typePing, [nonceSize]byte{1}))
	f.Add(appendWanted(nil, amid(1)))
	f.Add(appendKeys(nil, amid(1), twoKeys))
	f.Add(appendKeys(nil, amid(1), OneTimeKeys{KEM: twoKeys.KEM}))
	f.Fuzz(func(t *testing.T, in []byte) {
		r := bytes.NewReader(in)
		got, err := readFrame(bufio.NewReaderSize(r, 16), maxFrame)
		if err != nil {
			return
		}
		var again []byte
		switch got.kind {
		case typeHello:
			again = appendHello(nil)
			again[6] = byte(got.features)
			again[5], again[4], again[3] = byte(got.features>>8), byte(got.features>>16), byte(got.features>>24)
		case typeEnvelope:
			again = appendEnvelope(nil, got.from, got.to, got.envelope)
		case typeAck:
			again = appendAcks(nil, got.ids)
		case typePing, typePong:
			again = appendEcho(nil, got.kind, got.nonce)
		case typeWanted:
			again = appendWanted(nil, got.of)
		case typeKeys:
			again = appendKeys(nil, got.of, got.keys)
		}
		if !bytes.HasPrefix(in, again) {
			t.Errorf("%x read as %+v, which is written %x", in, got, again)
		}
	})
}

func unhex(t testing.TB, s string) []byte {
	t.Helper()
	b, err := hex.DecodeString(strings.ReplaceAll(s, " ", ""))
	if err != nil {
		t.Fatal(err)
	}
	return b
}
