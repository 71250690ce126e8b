package compare

import (
	"crypto/sha256"
	"encoding/hex"
	"slices"
	"strings"
	"testing"

	"rsc.io/qr"
)

func TestListIsTheOneEverybodyHas(t *testing.T) {
	sum := sha256.Sum256([]byte(wordList))
	if got := hex.EncodeToString(sum[:]); got != "2f5eed53a4727b4bf8880d8f3f199efc90e58503646d9ff8eff3a2ed3b24dbda" {
		t.Errorf("SHA-256 of the list is %s", got)
	}
	list := strings.Fields(wordList)
	if len(list) != 1<<wordBits || !slices.IsSorted(list) {
		t.Errorf("%d words, sorted: %t", len(list), slices.IsSorted(list))
	}
	starts := make(map[string]string)
	for _, w := range list {
		start := w[:min(4, len(w))]
		if other, taken := starts[start]; taken {
			t.Errorf("%s and %s start alike", w, other)
		}
		starts[start] = w
	}
}

// The bytes of session.md §2.9, once by hand.
func TestValue(t *testing.T) {
	small, great := [32]byte{31: 1}, [32]byte{31: 2}
	v := Of(small, great)
	want := sha256.Sum256([]byte("amesh/1 comparison\x00" + string(small[:]) + string(great[:])))
	if v != Value(want) {
		t.Errorf("got %s, want %x", v, want)
	}
	if got := v.String(); got != "d00104fc9db988afbf7e4437e030635803ffba567236786037b958e387a6d0c5" {
		t.Errorf("value %s", got)
	}
	if Of(great, small) != v {
		t.Error("the two sides see different values")
	}
	if Of(small, small) == v || Of(great, [32]byte{31: 3}) == v {
		t.Error("other keys, the same value")
	}
	if got := v.Payload(); got != "amesh:compare:"+v.String() {
		t.Errorf("payload %q", got)
	}
}

func TestWords(t *testing.T) {
	for name, c := range map[string]struct {
		value Value
		want  string
	}{
		"zeros":    {Value{}, strings.TrimSpace(strings.Repeat("abandon ", 12))},
		"ones":     {Value(slices.Repeat([]byte{0xFF}, 32)), strings.TrimSpace(strings.Repeat("zoo ", 12))},
		"one bit":  {Value{1: 0x20}, "ability" + strings.Repeat(" abandon", 11)},
		"last bit": {Value{16: 0x10}, strings.Repeat("abandon ", 11) + "ability"},
		"beyond":   {Value{16: 0x0F, 31: 0xFF}, strings.TrimSpace(strings.Repeat("abandon ", 12))},
	} {
		if got := strings.Join(c.value.Words(), " "); got != c.want {
			t.Errorf("%s: %s", name, got)
		}
	}
}

// What is drawn is the code: every module read back from the half-blocks.
func TestQR(t *testing.T) {
	text := Of([32]byte{1}, [32]byte{2}).Payload()
	code, err := qr.Encode(text, qr.L)
	if err != nil {
		t.Fatal(err)
	}
	lines, err := QR(text)
	if err != nil {
		t.Fatal(err)
	}
	if want := (code.Size + 8 + 1) / 2; len(lines) != want || want > 24 {
		t.Errorf("%d lines for a code of %d, want %d and no more than a terminal has", len(lines), code.Size, want)
	}
	for i, line := range lines {
		modules := []rune(line)
		if len(modules) != code.Size+8 {
			t.Fatalf("line %d: %d characters", i, len(modules))
		}
		for j, r := range modules {
			x, y := j-4, 2*i-4
			upper, lower := r == '█' || r == '▀', r == '█' || r == '▄'
			if upper != code.Black(x, y) || lower != code.Black(x, y+1) {
				t.Fatalf("module %d, %d is drawn as %q", x, y, r)
			}
		}
	}
	if _, err := QR(strings.Repeat("x", 3000)); err == nil {
		t.Error("a text that fits into no code was drawn")
	}
}
