package content

import (
	"bytes"
	"testing"
	"unicode/utf8"
)

func FuzzClean(f *testing.F) {
	f.Add("plain", 5)
	f.Add("a\xffb\x1b[2J", 200)
	f.Add("ääää", 3)
	f.Fuzz(func(t *testing.T, s string, max int) {
		if max < 0 || max > MaxReceiptText {
			return
		}
		got := Clean(s, max)
		if err := checkText("x", got, max); err != nil {
			t.Errorf("%q to %d bytes: %q: %v", s, max, got, err)
		}
		if again := Clean(got, max); again != got {
			t.Errorf("%q is cleaned to %q, and that to %q", s, got, again)
		}
		if utf8.ValidString(s) && checkText("x", s, max) == nil && got != s {
			t.Errorf("%q is clean and becomes %q", s, got)
		}
	})
}

// FuzzSplit: whatever is cut is put together again, and each piece can travel.
func FuzzSplit(f *testing.F) {
	f.Add([]byte("body"), uint32(0))
	f.Add([]byte{}, uint32(SliceSize))
	f.Add([]byte{1}, uint32(2*SliceSize))
	f.Add([]byte{1, 2}, uint32(MaxBody-2))
	f.Fuzz(func(t *testing.T, head []byte, zeros uint32) {
		if len(head)+int(zeros) > MaxBody {
			return
		}
		body := append(bytes.Clone(head), make([]byte, zeros)...)
		contents, err := Split(description(), body)
		if err != nil {
			t.Fatal(err)
		}
		var slices [][]byte
		var last *Part
		for _, c := range contents {
			raw, err := c.Encode()
			if err != nil {
				t.Fatal(err)
			}
			back, err := Parse(raw)
			if err != nil {
				t.Fatal(err)
			}
			switch back := back.(type) {
			case *Message:
				if !bytes.Equal(back.Body, body) {
					t.Error("another body")
				}
				return
			case *Part:
				slices, last = append(slices, back.Slice), back
			}
		}
		if got, err := Join(slices, last.Total, last.Body); err != nil || !bytes.Equal(got, body) {
			t.Errorf("joined to another body: %v", err)
		}
	})
}

func FuzzCheckFileName(f *testing.F) {
	for _, s := range []string{"a.txt", "..", "a/b", `a\b`, "...", "", "\x00", "中.txt"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		if CheckFileName(s) != nil {
			return
		}
		for _, bad := range []string{"/", `\`, "\x00", "\n"} {
			if bytes.Contains([]byte(s), []byte(bad)) {
				t.Errorf("%q passes with %q in it", s, bad)
			}
		}
		if s == "." || s == ".." || len(s) > MaxFileName {
			t.Errorf("%q passes", s)
		}
	})
}
