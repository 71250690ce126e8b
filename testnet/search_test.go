package testnet

import (
	"bytes"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/google/go-cmp/cmp"
)

func mustSearcher(t *testing.T, needles ...needle) *searcher {
	t.Helper()
	s, err := newSearcher(needles)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// noise is a run of bytes that looks random and is the same every time.
func noise(n int) []byte {
	var out []byte
	for i := 0; len(out) < n; i++ {
		sum := sha256.Sum256(fmt.Append(nil, i))
		out = append(out, sum[:]...)
	}
	return out[:n]
}

func TestPlantedWordIsFoundInEveryForm(t *testing.T) {
	words := []string{"flights", "travel/flights", "marmalade", "Gothenburg", "0123456789", "\x00\xff\xfe\xfd\x01\x02\x03\x04"}
	for _, w := range words {
		s := mustSearcher(t, needle{"a message", []byte(w)})
		for form, text := range planted([]byte(w)) {
			hits, n, err := s.scan("here", strings.NewReader("<<"+text+">>"), 1024)
			if err != nil || len(hits) == 0 || n != int64(len(text)+4) {
				t.Errorf("%q %s: %d hits in %d bytes, %v", w, form, len(hits), n, err)
			}
		}
		if hits, _, err := s.scan("here", bytes.NewReader(noise(1<<16)), 1024); err != nil || len(hits) != 0 {
			t.Errorf("%q is seen in noise: %v, %v", w, hits, err)
		}
	}
}

// A word inside an envelope inside a JSON frame, wherever it stands in it.
func TestWordInsideALongBase64Text(t *testing.T) {
	s := mustSearcher(t, needle{"a message", []byte("marmalade")})
	for at := range 12 {
		inside := append(noise(at), "marmalade"...)
		inside = append(inside, noise(50-at)...)
		for name, enc := range map[string]*base64.Encoding{"std": base64.StdEncoding, "url": base64.RawURLEncoding} {
			hits, _, err := s.scan("frame", strings.NewReader(`{"encrypted_payload":"`+enc.EncodeToString(inside)+`"}`), 4096)
			if err != nil || len(hits) != 1 {
				t.Errorf("%s at %d: %v, %v", name, at, hits, err)
			}
		}
	}
}

func TestWordOnTheBorderOfChunks(t *testing.T) {
	const word = "marmalade"
	s := mustSearcher(t, needle{"a message", []byte(word)})
	for _, chunk := range []int{1, 2, 7, 64, 100} {
		for at := range 220 {
			text := append(noise(at), word...)
			text = append(text, noise(300-at)...)
			// A reader that gives one byte at a time must make no difference.
			var r io.Reader = bytes.NewReader(text)
			if at%2 == 1 {
				r = iotest.OneByteReader(r)
			}
			hits, n, err := s.scan("here", r, chunk)
			if err != nil || n != int64(len(text)) {
				t.Fatalf("chunk %d, at %d: %d bytes, %v", chunk, at, n, err)
			}
			if len(hits) != 1 || hits[0].offset != int64(at) {
				t.Fatalf("chunk %d, at %d: %v", chunk, at, hits)
			}
		}
	}
}

func TestWordAtTheVeryEndAndTwice(t *testing.T) {
	s := mustSearcher(t, needle{"a message", []byte("marmalade")}, needle{"the intent", []byte("flights")})
	hits, _, err := s.scan("log", strings.NewReader("marmalademarmalade.flights"), 10)
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, h := range hits {
		got = append(got, h.String())
	}
	want := []string{
		`"marmalade" (a message) in log, plain, at byte 0`,
		`"marmalade" (a message) in log, plain, at byte 9`,
		`"flights" (the intent) in log, plain, at byte 19`,
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

func TestShortWordsAreRefused(t *testing.T) {
	if _, err := newSearcher([]needle{{"a message", []byte("travel")}}); err == nil {
		t.Error("six bytes were accepted")
	}
}

func TestUnreadableInputIsAnErrorAndNotClean(t *testing.T) {
	s := mustSearcher(t, needle{"a message", []byte("marmalade")})
	broken := errors.New("bad sector")
	if _, _, err := s.scan("disk", iotest.ErrReader(broken), 64); !errors.Is(err, broken) {
		t.Errorf("error is %v", err)
	}
	if _, _, _, err := s.scanFolder("relay", filepath.Join(t.TempDir(), "none", "\x00"), 64); err == nil {
		t.Error("a folder that cannot be walked was found clean")
	}
}

func TestFolderIsSearchedWithItsNames(t *testing.T) {
	dir := t.TempDir()
	write := func(name, text string) {
		t.Helper()
		path := filepath.Join(dir, filepath.FromSlash(name))
		if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write("mailbox/000001.vlog", "....marmalade")
	write("mailbox/empty", "")
	write("for-bob/flights.txt", "nothing in here")
	s := mustSearcher(t, needle{"a message", []byte("marmalade")}, needle{"the intent", []byte("flights")})
	hits, files, n, err := s.scanFolder("relay", dir, 64)
	if err != nil {
		t.Fatal(err)
	}
	if files != 3 || n != 28 {
		t.Errorf("%d files, %d bytes", files, n)
	}
	var got []string
	for _, h := range hits {
		got = append(got, h.where)
	}
	if diff := cmp.Diff([]string{"the name of relay/for-bob/flights.txt", "relay/mailbox/000001.vlog"}, got); diff != "" {
		t.Error(diff)
	}
}

func TestWordsOf(t *testing.T) {
	var got []string
	for _, n := range wordsOf("a message", greeting+" "+intent) {
		got = append(got, string(n.text))
	}
	want := []string{"sleeper", "Trondheim", "bicycles", "codeword", "marmalade", "flights"}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

// Everything that the demo says must leave words to search for.
func TestEveryTextOfTheDemoIsSearchedFor(t *testing.T) {
	for _, text := range append(away(), greeting, stranger, intent, builtin) {
		if len(wordsOf("a message", text)) == 0 {
			t.Errorf("nothing of %q would be searched for", text)
		}
	}
}

func TestFragmentsOfFiles(t *testing.T) {
	cases := []struct {
		name    string
		content []byte
		want    int
	}{
		{"empty", nil, 0},
		{"shorter than a piece", []byte("twenty-three bytes here"), 0},
		{"one piece", []byte("twenty-four bytes hereee"), 1},
		{"a long line, then dashes", []byte(builtin[:240] + strings.Repeat("-", 400)), 6},
		{"random, 1 MiB", noise(1 << 20), fragments},
		{"zeros", make([]byte, 4096), 0},
		{"dashes and spaces", []byte(strings.Repeat("- ", 500)), 0},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			got := fragmentsOf("the file", c.content)
			if len(got) != c.want {
				t.Fatalf("%d pieces, want %d", len(got), c.want)
			}
			for _, n := range got {
				if len(n.text) != fragmentBytes || !bytes.Contains(c.content, n.text) {
					t.Errorf("%q is no piece of it", n.text)
				}
			}
		})
	}
}

func TestControlPassesForWhatTheDemoSays(t *testing.T) {
	needles := append(wordsOf("a message", greeting), fragmentsOf("the file", noise(1<<16))...)
	if err := mustSearcher(t, needles...).control(); err != nil {
		t.Error(err)
	}
}

// A search that has lost a form must not pass its own control.
func TestControlNoticesABlindSearch(t *testing.T) {
	for _, blind := range []string{"plain", "hex", "base64", "base64url"} {
		s := mustSearcher(t, needle{"a message", []byte("~~~marmalade???")}) // differs in both base64 alphabets
		for i, p := range s.patterns {
			if p.form == blind {
				s.patterns[i].bytes = []byte("something else entirely")
			}
		}
		if err := s.control(); err == nil || !strings.Contains(err.Error(), "does not find") {
			t.Errorf("without %s: %v", blind, err)
		}
	}
}

func TestLeakNamesTheFirstPlaces(t *testing.T) {
	if err := leak(nil); err != nil {
		t.Error(err)
	}
	h := hit{needle{"the intent", []byte("flights")}, "hex", "relay.log", 3}
	err := leak([]hit{h, h, h, h})
	if err == nil || !strings.HasPrefix(err.Error(), "words were seen in 4 places: ") || strings.Count(err.Error(), "relay.log") != 3 {
		t.Errorf("error is %v", err)
	}
}
