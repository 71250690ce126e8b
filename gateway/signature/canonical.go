package signature

import (
	"bytes"
	"slices"
	"strconv"

	"amesh/internal/ijson"

	"github.com/gowebpki/jcs"
)

// canonical returns text, which ijson has checked, in the one form of RFC 8785.
//
// Why not jcs.Transform: it builds a tree. Of ten megabytes of a stranger's it makes
// hundreds, and sorts for seconds; this writes the form as it reads and only moves
// what stands in the wrong order. The two are held against each other by a test.
func canonical(text []byte) ([]byte, error) {
	c := canon{text: text, out: make([]byte, 0, len(text))}
	err := c.value()
	return c.out, err
}

// canon is one pass over a text.
type canon struct {
	text  []byte
	at    int
	out   []byte
	spans []span // members of the objects that are open, outermost first
	spare []byte
}

// span is one member as it was written out, without a comma.
type span struct {
	name       []byte
	start, end int
}

// next returns the next byte that is no space, without taking it.
func (c *canon) next() byte {
	for {
		switch b := c.text[c.at]; b {
		case ' ', '\t', '\n', '\r':
			c.at++
		default:
			return b
		}
	}
}

func (c *canon) value() error {
	switch b := c.next(); b {
	case '{':
		return c.object()
	case '[':
		return c.array()
	case '"':
		c.str()
		return nil
	case 't', 'n':
		c.take(4)
		return nil
	case 'f':
		c.take(5)
		return nil
	}
	return c.number()
}

func (c *canon) take(n int) {
	c.out = append(c.out, c.text[c.at:c.at+n]...)
	c.at += n
}

func (c *canon) array() error {
	c.take(1)
	for c.next() != ']' {
		if c.text[c.at] == ',' {
			c.take(1)
			continue
		}
		if err := c.value(); err != nil {
			return err
		}
	}
	c.take(1)
	return nil
}

func (c *canon) object() error {
	c.take(1)
	first := len(c.spans)
	for c.next() != '}' {
		if c.text[c.at] == ',' {
			c.take(1)
			continue
		}
		s := span{start: len(c.out)}
		s.name = c.str()
		c.next()
		c.take(1) // the colon
		if err := c.value(); err != nil {
			return err
		}
		s.end = len(c.out)
		c.spans = append(c.spans, s)
	}
	c.sort(c.spans[first:])
	c.spans = c.spans[:first]
	c.take(1)
	return nil
}

// sort puts members that were written out in the order of their names.
func (c *canon) sort(members []span) {
	if slices.IsSortedFunc(members, byName) {
		return
	}
	start, end := members[0].start, members[len(members)-1].end
	c.spare = append(c.spare[:0], c.out[start:end]...)
	slices.SortFunc(members, byName)
	out := c.out[:start]
	for i, m := range members {
		if i > 0 {
			out = append(out, ',')
		}
		out = append(out, c.spare[m.start-start:m.end-start]...)
	}
	c.out = out
}

// byName compares names by their UTF-16 code units (RFC 8785 §3.2.3). That is the order
// of their bytes in UTF-8, but that what is written in four bytes, a pair of surrogates,
// comes before U+E000 to U+FFFF, whose first byte is EE or EF.
func byName(a, b span) int {
	n := min(len(a.name), len(b.name))
	for i := range n {
		if x, y := a.name[i], b.name[i]; x != y {
			return weight(x) - weight(y)
		}
	}
	return len(a.name) - len(b.name)
}

func weight(b byte) int {
	if b == 0xee || b == 0xef {
		return int(b) + 0x10
	}
	return int(b)
}

// str writes the string at this place and returns what it says.
func (c *canon) str() []byte {
	end, escaped := c.at+1, false
	for ; c.text[end] != '"'; end++ {
		if c.text[end] == '\\' {
			escaped = true
			end++
		}
	}
	raw := c.text[c.at : end+1]
	if !escaped {
		c.take(len(raw)) // which is its one form
		return raw[1 : len(raw)-1]
	}
	s, _ := ijson.String(raw)
	c.at = end + 1
	c.out = append(c.out, '"')
	for i := 0; i < len(s); i++ {
		switch b := s[i]; {
		case b == '"' || b == '\\':
			c.out = append(c.out, '\\', b)
		case b >= 0x20:
			c.out = append(c.out, b)
		default:
			c.out = appendControl(c.out, b)
		}
	}
	c.out = append(c.out, '"')
	return []byte(s)
}

func appendControl(out []byte, b byte) []byte {
	if i := bytes.IndexByte([]byte("\b\t\n\f\r"), b); i >= 0 {
		return append(out, '\\', "btnfr"[i])
	}
	const hex = "0123456789abcdef"
	return append(out, '\\', 'u', '0', '0', hex[b>>4], hex[b&15])
}

// exactDigits is how long a whole number may be to be a double's shortest form for
// certain, as it stands.
const exactDigits = 15

func (c *canon) number() error {
	end, whole := c.at, true
	for end < len(c.text) && bytes.IndexByte([]byte("+-.eE0123456789"), c.text[end]) >= 0 {
		whole = whole && c.text[end] >= '0' && c.text[end] <= '9'
		end++
	}
	text := c.text[c.at:end]
	if whole && len(text) <= exactDigits {
		c.take(len(text))
		return nil
	}
	c.at = end
	f, err := strconv.ParseFloat(string(text), 64)
	if err != nil {
		return err
	}
	form, err := jcs.NumberToJSON(f)
	c.out = append(c.out, form...)
	return err
}
