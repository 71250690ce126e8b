package testnet

import (
	"bytes"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// shortestNeedle is the least length of what is searched for. Shorter words could
// stand somewhere by chance, at least in base64.
const shortestNeedle = 7

// needle is something that must not be seen.
type needle struct {
	what string // where it is from, for people
	text []byte
}

// pattern is one way to write a needle.
type pattern struct {
	needle int
	form   string
	bytes  []byte
}

// searcher looks for needles in every form in which bytes commonly travel: as they
// are, in hex, and in base64 at each of the three alignments. It is safe for
// concurrent use.
type searcher struct {
	needles  []needle
	patterns []pattern
	longest  int
	// first lists, for each pair of bytes, the patterns that begin with it. One
	// look-up a byte keeps the search linear, with some hundred patterns.
	first [1 << 16][]int
}

// newSearcher refuses needles that are too short to be found for sure.
func newSearcher(needles []needle) (*searcher, error) {
	s := &searcher{needles: needles}
	for i, n := range needles {
		if len(n.text) < shortestNeedle {
			return nil, fmt.Errorf("search: %q of %s is shorter than %d bytes", n.text, n.what, shortestNeedle)
		}
		s.add(i, "plain", n.text)
		s.add(i, "hex", []byte(hex.EncodeToString(n.text)))
		s.add(i, "hex", bytes.ToUpper([]byte(hex.EncodeToString(n.text))))
		for shift := range 3 {
			s.add(i, "base64", inBase64(base64.RawStdEncoding, n.text, shift))
			s.add(i, "base64url", inBase64(base64.RawURLEncoding, n.text, shift))
		}
	}
	return s, nil
}

// inBase64 is how text looks inside a longer base64 text, when shift bytes of its
// first group of three belong to what stands before it. The characters at both
// ends that also depend on the neighbours are left out.
func inBase64(enc *base64.Encoding, text []byte, shift int) []byte {
	coded := enc.EncodeToString(append(make([]byte, shift), text...))
	const bitsPerByte, bitsPerChar = 8, 6
	from := (shift*bitsPerByte + bitsPerChar - 1) / bitsPerChar
	to := (shift + len(text)) * bitsPerByte / bitsPerChar
	return []byte(coded[from:to])
}

func (s *searcher) add(needle int, form string, b []byte) {
	known := func(p pattern) bool { return p.needle == needle && bytes.Equal(p.bytes, b) }
	if slices.ContainsFunc(s.patterns, known) {
		return // most words look the same in both alphabets of base64
	}
	pair := int(b[0])<<8 | int(b[1])
	s.first[pair] = append(s.first[pair], len(s.patterns))
	s.patterns = append(s.patterns, pattern{needle, form, b})
	s.longest = max(s.longest, len(b))
}

// hit is one place where a needle was seen.
type hit struct {
	needle needle
	form   string
	where  string
	offset int64
}

func (h hit) String() string {
	return fmt.Sprintf("%q (%s) in %s, %s, at byte %d", h.needle.text, h.needle.what, h.where, h.form, h.offset)
}

// scan searches r to its end, chunk by chunk, and returns the number of bytes.
func (s *searcher) scan(where string, r io.Reader, chunk int) (hits []hit, n int64, err error) {
	buf := make([]byte, 0, chunk+s.longest)
	for {
		got, err := io.ReadFull(r, buf[len(buf):min(len(buf)+chunk, cap(buf))])
		last := errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF)
		if err != nil && !last {
			return hits, n, fmt.Errorf("search %s: %w", where, err)
		}
		base := n - int64(len(buf)) // where the buffer begins in r
		buf, n = buf[:len(buf)+got], n+int64(got)
		// A pattern that begins in the tail may go on in the next chunk, so the
		// tail is searched with that one and not with this.
		tail := min(len(buf), s.longest-1)
		if last {
			tail = 0
		}
		hits = append(hits, s.find(where, buf, len(buf)-tail, base)...)
		if last {
			return hits, n, nil
		}
		buf = append(buf[:0], buf[len(buf)-tail:]...)
	}
}

// find returns the hits that begin in the first limit bytes of buf.
func (s *searcher) find(where string, buf []byte, limit int, base int64) []hit {
	var hits []hit
	for i := 0; i < min(limit, len(buf)-1); i++ {
		for _, k := range s.first[int(buf[i])<<8|int(buf[i+1])] {
			if p := s.patterns[k]; bytes.HasPrefix(buf[i:], p.bytes) {
				hits = append(hits, hit{s.needles[p.needle], p.form, where, base + int64(i)})
			}
		}
	}
	return hits
}

// scanFolder searches every file under dir, and the names of the files.
func (s *searcher) scanFolder(name, dir string, chunk int) (hits []hit, files int, n int64, err error) {
	err = filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if errors.Is(err, fs.ErrNotExist) {
			return nil // a running relay throws files away
		}
		if err != nil || !d.Type().IsRegular() {
			return err
		}
		where := name + strings.TrimPrefix(filepath.ToSlash(path), filepath.ToSlash(dir))
		found, _, err := s.scan("the name of "+where, strings.NewReader(where), chunk)
		if err != nil {
			return err
		}
		hits = append(hits, found...)
		f, err := os.Open(path)
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		if err != nil {
			return err
		}
		defer f.Close()
		found, got, err := s.scan(where, f, chunk)
		hits, files, n = append(hits, found...), files+1, n+got
		return err
	})
	if err != nil {
		return hits, files, n, fmt.Errorf("search %s: %w", name, err)
	}
	return hits, files, n, nil
}

// wordsOf are the words of a text that are long enough to be searched for.
func wordsOf(what, text string) []needle {
	var all []needle
	for _, w := range strings.FieldsFunc(text, func(r rune) bool { return strings.ContainsRune(" \n\t.,;:!?()/\"", r) }) {
		if len(w) >= shortestNeedle {
			all = append(all, needle{what, []byte(w)})
		}
	}
	return all
}

const (
	// fragments is how many pieces of a file are searched for.
	fragments = 16
	// fragmentBytes is the length of each. A single word of a file may well stand
	// in a relay's folder by right, a run of this length does not.
	fragmentBytes = 24
	// fragmentVariety is how many different bytes a piece has at least: padding
	// and lines of dashes are everywhere.
	fragmentVariety = 8
)

// fragmentsOf are pieces from all over a file; none if it is short or monotonous.
func fragmentsOf(what string, content []byte) []needle {
	var all []needle
	step := max(len(content)/fragments, fragmentBytes)
	for at := 0; at+fragmentBytes <= len(content) && len(all) < fragments; at += step {
		piece := content[at : at+fragmentBytes]
		if variety(piece) >= fragmentVariety {
			all = append(all, needle{what, piece})
		}
	}
	return all
}

func variety(b []byte) int {
	var present [256]bool
	n := 0
	for _, c := range b {
		if !present[c] {
			present[c] = true
			n++
		}
	}
	return n
}
