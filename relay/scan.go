package relay

import (
	"encoding/binary"
	"unicode/utf8"
)

// sendText is what a send frame says, as it stands there.
type sendText struct {
	to, payload, kind, clientID []byte
}

// scanSend reads the usual send frame without making anything of it: an object whose
// members are texts without escapes and literals. ok is false for everything else,
// which parseClientFrame may still understand; where it is true, both understand the
// same.
func scanSend(data []byte, l Limits) (f sendText, ok bool) {
	s := scanner{rest: data}
	var typ []byte
	for open := s.skip('{'); open; open = s.skip(',') {
		name := s.text()
		if name == nil || !s.skip(':') {
			return f, false
		}
		var member *[]byte
		switch string(name) {
		case "type":
			member = &typ
		case "to":
			member = &f.to
		case "encrypted_payload":
			member = &f.payload
		case "message_type":
			member = &f.kind
		case "client_id":
			member = &f.clientID
		case "ice_candidates":
			if !s.literal("null") {
				return f, false
			}
			continue
		}
		value := s.text()
		switch {
		case value == nil && !s.literal("null") && !s.literal("true") && !s.literal("false"):
			return f, false
		case member != nil:
			// Of two members with one name the last counts, as in package json.
			*member = value
		}
	}
	ok = s.skip('}') && s.end() && string(typ) == typeSend && f.to != nil && f.payload != nil &&
		Kind(f.kind).Valid() && len(f.clientID) <= l.ClientIDBytes && (!s.wide || utf8.Valid(data))
	return f, ok
}

// frame is f as the parser would have read it.
func (f *sendText) frame() sendFrame {
	return sendFrame{
		Type: typeSend, To: string(f.to), Payload: string(f.payload), Kind: Kind(f.kind), ClientID: string(f.clientID),
	}
}

// scanMembers reads the usual frame: an object whose members are texts without escapes,
// lists of these, and literals. ok is false for everything else, which package json may
// still understand; where it is true, both understand the same. The members are parts
// of data.
func scanMembers(data []byte) (m members, ok bool) {
	s := scanner{rest: data}
	m = make(members, usualMembers)
	for open := s.skip('{'); open; open = s.skip(',') {
		name := s.text()
		if name == nil || !s.skip(':') {
			return nil, false
		}
		value := s.value()
		if value == nil {
			return nil, false
		}
		// Of two members with one name the last counts, as in package json.
		m[string(name)] = value
	}
	return m, len(m) > 0 && s.skip('}') && s.end() && (!s.wide || utf8.Valid(data))
}

// usualMembers is how many members the longest of the usual frames has, connect.
const usualMembers = 9

// scanner goes through JSON that it does not keep.
type scanner struct {
	rest []byte
	wide bool // there was something beyond ASCII
}

func (s *scanner) space() {
	for len(s.rest) > 0 {
		switch s.rest[0] {
		case ' ', '\t', '\n', '\r':
			s.rest = s.rest[1:]
		default:
			return
		}
	}
}

// skip goes over one character, if it is that one.
func (s *scanner) skip(c byte) bool {
	s.space()
	if len(s.rest) == 0 || s.rest[0] != c {
		return false
	}
	s.rest = s.rest[1:]
	return true
}

// literal goes over a word, if it is that one.
func (s *scanner) literal(word string) bool {
	s.space()
	if len(s.rest) < len(word) || string(s.rest[:len(word)]) != word {
		return false
	}
	s.rest = s.rest[len(word):]
	return true
}

// value goes over a text, a list of texts or a literal, and returns it as it stands
// there; nil is anything else.
func (s *scanner) value() []byte {
	s.space()
	before := s.rest
	switch {
	case s.text() != nil, s.literal("null"), s.literal("true"), s.literal("false"):
	case s.skip('[') && s.texts():
	default:
		return nil
	}
	return before[:len(before)-len(s.rest)]
}

// texts goes over the rest of a list of texts.
func (s *scanner) texts() bool {
	if s.skip(']') {
		return true
	}
	for s.text() != nil {
		if !s.skip(',') {
			return s.skip(']')
		}
	}
	return false
}

// end reports whether nothing but space is left.
func (s *scanner) end() bool {
	s.space()
	return len(s.rest) == 0
}

// text goes over a string without escapes and returns what is between its quotes;
// nil is anything else.
func (s *scanner) text() []byte {
	s.space()
	if len(s.rest) == 0 || s.rest[0] != '"' {
		return nil
	}
	b := s.rest[1:]
	for i := 0; ; {
		i += plainBytes(b[i:])
		if i == len(b) {
			return nil
		}
		switch c := b[i]; {
		case c == '"':
			s.rest = b[i+1:]
			return b[:i:i]
		case c == '\\' || c < ' ':
			return nil
		case c >= utf8.RuneSelf:
			s.wide = true
		}
		i++
	}
}

// plain reports whether a string stands in JSON as it is.
func plain(s string) bool {
	for i := range len(s) {
		if c := s[i]; c < ' ' || c == '"' || c == '\\' || c >= utf8.RuneSelf {
			return false
		}
	}
	return true
}

const (
	ones = 0x0101010101010101
	tops = 0x8080808080808080
)

// plainBytes counts the bytes at the beginning that mean themselves in a string, eight
// at a time; it may stop early.
func plainBytes(b []byte) int {
	n := 0
	for len(b)-n >= 8 {
		w := binary.LittleEndian.Uint64(b[n:])
		// In each byte the top bit says: below a space, a quote, a backslash, beyond ASCII.
		odd := (w - ones*' ') | ((w ^ ones*'"') - ones) | ((w ^ ones*'\\') - ones) | w
		if odd&tops != 0 {
			break
		}
		n += 8
	}
	return n
}
