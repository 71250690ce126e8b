// Package ijson reads I-JSON (RFC 7493) in one pass: JSON in UTF-8 in which two
// readers cannot see two things.
//
// encoding/json takes the last of two equal names, matches names without regard
// to case and repairs broken text in silence. What is signed, or judged by one
// program and acted upon by another, must not depend on such choices. Unlike
// strictjson, which is for small files, this reader copies nothing and builds no
// tree: it checks the whole text and hands out the members as they stand in it.
package ijson

import (
	"bytes"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"unicode/utf16"
	"unicode/utf8"
)

// ErrMalformed reports text that is not I-JSON.
var ErrMalformed = errors.New("not I-JSON")

// Member is one member of an object. Value is a part of the text that was read,
// without the space around it.
type Member struct {
	Name  string
	Value []byte
}

// maxKept is how many members or elements are handed out: what is kept of each takes
// more memory than it has in the text.
const maxKept = 1 << 16

// Object reads text, which must be one object and nothing else, nested no deeper
// than maxDepth, and returns its members in their order. It returns ErrMalformed
// for text that is not UTF-8, for half a surrogate pair, for two equal names in
// one object at any depth, for a number beyond the range of a double, and for
// anything after the object; and for more than 65,536 members in it.
func Object(text []byte, maxDepth int) ([]Member, error) {
	r := reader{text: text, maxDepth: maxDepth, keep: true}
	r.members = make([]Member, 0, fewNames)
	if err := r.whole('{'); err != nil {
		return nil, err
	}
	return r.members, nil
}

// Array reads text, which must be one array, as Object reads an object, and
// returns its elements.
func Array(text []byte, maxDepth int) ([][]byte, error) {
	r := reader{text: text, maxDepth: maxDepth, keep: true}
	if err := r.whole('['); err != nil {
		return nil, err
	}
	return r.elements, nil
}

// Check reads any value as Object reads an object.
func Check(text []byte, maxDepth int) error {
	r := reader{text: text, maxDepth: maxDepth}
	return r.whole(0)
}

// String returns what the JSON string value says; false when value, a part of
// text that was checked, is no string.
func String(value []byte) (string, bool) {
	if len(value) < 2 || value[0] != '"' {
		return "", false
	}
	inner := value[1 : len(value)-1]
	if bytes.IndexByte(inner, '\\') < 0 {
		return string(inner), true
	}
	return unescape(inner), true
}

// AppendCompact appends value, a part of text that was checked, without the space
// between its tokens.
func AppendCompact(dst, value []byte) []byte {
	for i := 0; i < len(value); {
		switch c := value[i]; c {
		case ' ', '\t', '\n', '\r':
			i++
		case '"':
			end := stringEnd(value, i)
			dst = append(dst, value[i:end]...)
			i = end
		default:
			dst = append(dst, c)
			i++
		}
	}
	return dst
}

// stringEnd returns the place after the string that begins at i.
func stringEnd(value []byte, i int) int {
	i++
	if n := bytes.IndexByte(value[i:], '"'); n >= 0 && bytes.IndexByte(value[i:i+n], '\\') < 0 {
		return i + n + 1
	}
	for ; i < len(value); i++ {
		switch value[i] {
		case '\\':
			i++
		case '"':
			return i + 1
		}
	}
	return len(value)
}

// reader walks over the text once. The top level is kept, the rest only checked.
type reader struct {
	text     []byte
	at       int
	maxDepth int
	keep     bool
	members  []Member
	elements [][]byte
	names    [][]byte // of the objects that are open, outermost first
}

func (r *reader) whole(first byte) error {
	if !utf8.Valid(r.text) {
		return fmt.Errorf("%w: not UTF-8", ErrMalformed)
	}
	r.space()
	if r.at == len(r.text) {
		return fmt.Errorf("%w: nothing there", ErrMalformed)
	}
	if first != 0 && r.text[r.at] != first {
		return r.bad(map[byte]string{'{': "an object expected", '[': "an array expected"}[first])
	}
	if err := r.value(0); err != nil {
		return err
	}
	r.space()
	if r.at < len(r.text) {
		return r.bad("more after the value")
	}
	return nil
}

func (r *reader) bad(what string) error {
	return fmt.Errorf("%w: byte %d: %s", ErrMalformed, r.at, what)
}

func (r *reader) space() {
	for r.at < len(r.text) {
		switch r.text[r.at] {
		case ' ', '\t', '\n', '\r':
			r.at++
		default:
			return
		}
	}
}

// next returns the byte at the reader's place, and 0 at the end of the text.
func (r *reader) next() byte {
	if r.at < len(r.text) {
		return r.text[r.at]
	}
	return 0
}

func (r *reader) value(depth int) error {
	switch c := r.next(); {
	case c == '{':
		return r.object(depth)
	case c == '[':
		return r.array(depth)
	case c == '"':
		_, err := r.str()
		return err
	case c == '-' || c >= '0' && c <= '9':
		return r.number()
	case c == 't':
		return r.word("true")
	case c == 'f':
		return r.word("false")
	case c == 'n':
		return r.word("null")
	case r.at >= len(r.text):
		return r.bad("the text ends early")
	}
	return r.bad("a value expected")
}

func (r *reader) word(w string) error {
	if !bytes.HasPrefix(r.text[r.at:], []byte(w)) {
		return r.bad("a value expected")
	}
	r.at += len(w)
	return nil
}

func (r *reader) open(depth int) error {
	if depth >= r.maxDepth {
		return r.bad("nested deeper than " + strconv.Itoa(r.maxDepth))
	}
	r.at++
	r.space()
	return nil
}

func (r *reader) object(depth int) error {
	if err := r.open(depth); err != nil {
		return err
	}
	if r.names == nil { // which a list of addresses does without
		r.names = make([][]byte, 0, 2*fewNames)
	}
	first := len(r.names)
	for n := 0; ; n++ {
		if n == 0 && r.next() == '}' {
			break
		}
		if err := r.member(depth, first); err != nil {
			return err
		}
		if r.next() != ',' {
			break
		}
		r.at++
		r.space()
	}
	if r.next() != '}' {
		return r.bad("a comma or } expected")
	}
	r.at++
	if own := r.names[first:]; len(own) > fewNames {
		if name, there := twice(own); there {
			return r.repeated(name)
		}
	}
	r.names = r.names[:first]
	return nil
}

func (r *reader) repeated(name []byte) error {
	return r.bad("the name " + strconv.Quote(string(name)) + " stands there twice")
}

// member reads one member of an object whose names begin at first.
func (r *reader) member(depth, first int) error {
	if r.next() != '"' {
		return r.bad("a name expected")
	}
	raw, err := r.str()
	if err != nil {
		return err
	}
	name := raw[1 : len(raw)-1]
	if bytes.IndexByte(name, '\\') >= 0 {
		name = []byte(unescape(name))
	}
	if own := r.names[first:]; len(own) < fewNames && has(own, name) {
		return r.repeated(name)
	}
	r.names = append(r.names, name)
	r.space()
	if r.next() != ':' {
		return r.bad("a colon expected")
	}
	r.at++
	r.space()
	from := r.at
	if err := r.value(depth + 1); err != nil {
		return err
	}
	if r.keep && depth == 0 {
		if len(r.members) == maxKept {
			return r.bad("more than " + strconv.Itoa(maxKept) + " members")
		}
		r.members = append(r.members, Member{string(name), r.text[from:r.at:r.at]})
	}
	r.space()
	return nil
}

func (r *reader) array(depth int) error {
	if err := r.open(depth); err != nil {
		return err
	}
	for n := 0; ; n++ {
		if n == 0 && r.next() == ']' {
			break
		}
		from := r.at
		if err := r.value(depth + 1); err != nil {
			return err
		}
		if r.keep && depth == 0 {
			if len(r.elements) == maxKept {
				return r.bad("more than " + strconv.Itoa(maxKept) + " elements")
			}
			r.elements = append(r.elements, r.text[from:r.at:r.at])
		}
		r.space()
		if r.next() != ',' {
			break
		}
		r.at++
		r.space()
	}
	if r.next() != ']' {
		return r.bad("a comma or ] expected")
	}
	r.at++
	return nil
}

// fewNames is up to how many names are compared one by one as they come. More are
// sorted when their object ends: that takes no memory that the text did not pay for.
const fewNames = 16

// has says whether name is among few names.
func has(names [][]byte, name []byte) bool {
	for _, n := range names {
		if bytes.Equal(n, name) {
			return true
		}
	}
	return false
}

// twice returns a name that stands twice among many, which it sorts.
func twice(names [][]byte) ([]byte, bool) {
	slices.SortFunc(names, bytes.Compare)
	for i := 1; i < len(names); i++ {
		if bytes.Equal(names[i-1], names[i]) {
			return names[i], true
		}
	}
	return nil, false
}

// str reads the string at the reader's place and returns it with its quotes.
func (r *reader) str() ([]byte, error) {
	from := r.at
	for r.at++; r.at < len(r.text); {
		switch c := r.text[r.at]; {
		case c == '"':
			r.at++
			return r.text[from:r.at:r.at], nil
		case c == '\\':
			if err := r.escape(); err != nil {
				return nil, err
			}
		case c < 0x20:
			return nil, r.bad("a control character in a string")
		default:
			r.at++
		}
	}
	return nil, r.bad("the text ends in a string")
}

func (r *reader) escape() error {
	if r.at+1 >= len(r.text) {
		return r.bad("the text ends in a string")
	}
	switch r.text[r.at+1] {
	case '"', '\\', '/', 'b', 'f', 'n', 'r', 't':
		r.at += 2
		return nil
	case 'u':
	default:
		return r.bad("no such escape")
	}
	first, ok := hex4(r.text, r.at+2)
	if !ok {
		return r.bad("four hex digits expected")
	}
	if !utf16.IsSurrogate(first) {
		r.at += 6
		return nil
	}
	second, ok := hex4(r.text, r.at+8)
	if !ok || r.text[r.at+6] != '\\' || r.text[r.at+7] != 'u' ||
		utf16.DecodeRune(first, second) == utf8.RuneError {
		return r.bad("half a surrogate pair")
	}
	r.at += 12
	return nil
}

func hex4(text []byte, at int) (rune, bool) {
	if at+4 > len(text) {
		return 0, false
	}
	var v rune
	for _, c := range text[at : at+4] {
		switch {
		case c >= '0' && c <= '9':
			c -= '0'
		case c >= 'a' && c <= 'f':
			c -= 'a' - 10
		case c >= 'A' && c <= 'F':
			c -= 'A' - 10
		default:
			return 0, false
		}
		v = v<<4 | rune(c)
	}
	return v, true
}

// maxSafeDigits is how long a number without an exponent may be and cannot be
// beyond a double's range.
const maxSafeDigits = 300

func (r *reader) number() error {
	from := r.at
	if r.next() == '-' {
		r.at++
	}
	switch digits := r.digits(); {
	case digits == 0:
		return r.bad("a digit expected")
	case digits > 1 && r.text[r.at-digits] == '0':
		return r.bad("a number must not begin with 0")
	}
	if r.next() == '.' {
		r.at++
		if r.digits() == 0 {
			return r.bad("a digit expected")
		}
	}
	exponent := r.next() == 'e' || r.next() == 'E'
	if exponent {
		r.at++
		if c := r.next(); c == '+' || c == '-' {
			r.at++
		}
		if r.digits() == 0 {
			return r.bad("a digit expected")
		}
	}
	if exponent || r.at-from > maxSafeDigits {
		if _, err := strconv.ParseFloat(string(r.text[from:r.at]), 64); err != nil {
			return r.bad("a number beyond the range of a double")
		}
	}
	return nil
}

func (r *reader) digits() int {
	from := r.at
	for c := r.next(); c >= '0' && c <= '9'; c = r.next() {
		r.at++
	}
	return r.at - from
}

// unescape reads the inside of a string that was checked.
func unescape(inner []byte) string {
	out := make([]byte, 0, len(inner))
	for i := 0; i < len(inner); {
		if inner[i] != '\\' {
			out = append(out, inner[i])
			i++
			continue
		}
		if c := inner[i+1]; c != 'u' {
			out = append(out, plain(c))
			i += 2
			continue
		}
		c, _ := hex4(inner, i+2)
		i += 6
		if utf16.IsSurrogate(c) {
			low, _ := hex4(inner, i+2)
			c = utf16.DecodeRune(c, low)
			i += 6
		}
		out = utf8.AppendRune(out, c)
	}
	return string(out)
}

func plain(c byte) byte {
	switch c {
	case 'b':
		return '\b'
	case 'f':
		return '\f'
	case 'n':
		return '\n'
	case 'r':
		return '\r'
	case 't':
		return '\t'
	}
	return c
}
