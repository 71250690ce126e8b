// Package compare lets the owners of two agents make sure that each has the other's
// key and nobody stands between them: both look at a value made of the two signing
// keys, as twelve words to be read out or as a code to be scanned, and it must be the
// same (docs/protocol/session.md §2.9). It is worth as much as the line on which the
// owners compare; it has to be another one than the agents'.
//
// The words are BIP 39's English list (MIT licence), whose first four letters are
// enough to tell two of them apart.
package compare

import (
	"bytes"
	"crypto/sha256"
	_ "embed"
	"encoding/hex"
	"fmt"
	"strings"

	"rsc.io/qr"
)

// The shape of the words: 132 of the value's 256 bits.
const (
	WordCount = 12
	wordBits  = 11
)

const (
	tag           = "amesh/1 comparison"
	payloadPrefix = "amesh:compare:"
)

//go:embed words.txt
var wordList string

// Value is what the owners of two agents compare.
type Value [sha256.Size]byte

// Of makes the value of two agents from their signing keys, in either order.
func Of(a, b [32]byte) Value {
	if bytes.Compare(a[:], b[:]) > 0 {
		a, b = b, a
	}
	h := sha256.New()
	h.Write([]byte(tag))
	h.Write([]byte{0})
	h.Write(a[:])
	h.Write(b[:])
	return Value(h.Sum(nil))
}

// Words are the value's first 132 bits, eleven a word, most significant first.
func (v Value) Words() []string {
	list := strings.Fields(wordList)
	words := make([]string, WordCount)
	for i := range words {
		n := 0
		for bit := i * wordBits; bit < (i+1)*wordBits; bit++ {
			n = n<<1 | int(v[bit/8]>>(7-bit%8)&1)
		}
		words[i] = list[n]
	}
	return words
}

// String is the whole value in hex.
func (v Value) String() string { return hex.EncodeToString(v[:]) }

// Payload is the text in the code.
func (v Value) Payload() string { return payloadPrefix + v.String() }

// QR draws a text as a code for a terminal, two modules above one another in each
// character, with the light margin that scanners need. What is drawn is dark: it is
// to be shown dark on light.
func QR(text string) ([]string, error) {
	code, err := qr.Encode(text, qr.L)
	if err != nil {
		return nil, fmt.Errorf("QR code: %w", err)
	}
	const margin = 4
	var lines []string
	for y := -margin; y < code.Size+margin; y += 2 {
		var line strings.Builder
		for x := -margin; x < code.Size+margin; x++ {
			line.WriteString(half(code.Black(x, y), code.Black(x, y+1)))
		}
		lines = append(lines, line.String())
	}
	return lines, nil
}

func half(upper, lower bool) string {
	switch {
	case upper && lower:
		return "█"
	case upper:
		return "▀"
	case lower:
		return "▄"
	}
	return " "
}
