// Package strictjson reads JSON objects that decide about security: policies and
// identity files.
//
// encoding/json takes the last of two equal names, matches names without regard
// to case, and repairs broken text in silence; two readers of one file can then
// disagree on what it says. Here all of that is an error. Values are handed out
// as they stand, so that what is not understood can be kept.
package strictjson

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
	"unicode/utf8"
)

// MaxDepth is how deep values may be nested.
const MaxDepth = 32

// ErrMalformed reports text that is not one JSON object in the strict sense.
var ErrMalformed = errors.New("malformed")

// Member is one name of an object with its value as it stands in the text.
type Member struct {
	Name  string
	Value json.RawMessage
}

// Object reads raw, which must be one JSON object and nothing else, and returns
// its members in their order. It returns ErrMalformed for two names of one object
// that differ in case at most, at any depth, for text that is not Unicode, and
// for values nested deeper than MaxDepth.
func Object(raw []byte) ([]Member, error) {
	if !utf8.Valid(raw) {
		return nil, fmt.Errorf("%w: not UTF-8", ErrMalformed)
	}
	if err := checkAll(raw); err != nil {
		return nil, err
	}
	d := json.NewDecoder(bytes.NewReader(raw))
	if t, err := d.Token(); err != nil || t != json.Delim('{') {
		return nil, fmt.Errorf("%w: not an object", ErrMalformed)
	}
	var members []Member
	for d.More() {
		t, err := d.Token()
		if err != nil {
			return nil, fmt.Errorf("%w: %v", ErrMalformed, err)
		}
		name, _ := t.(string)
		var m Member
		m.Name = name
		if err := d.Decode(&m.Value); err != nil {
			return nil, fmt.Errorf("%w: %v", ErrMalformed, err)
		}
		members = append(members, m)
	}
	return members, nil
}

func checkAll(raw []byte) error {
	d := json.NewDecoder(bytes.NewReader(raw))
	d.UseNumber()
	if err := checkValue(d, 0); err != nil {
		return err
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return fmt.Errorf("%w: more after the value", ErrMalformed)
	}
	return nil
}

func checkValue(d *json.Decoder, depth int) error {
	if depth > MaxDepth {
		return fmt.Errorf("%w: nested deeper than %d", ErrMalformed, MaxDepth)
	}
	t, err := d.Token()
	if err != nil {
		return fmt.Errorf("%w: %v", ErrMalformed, err)
	}
	switch t := t.(type) {
	case string:
		return checkString(t)
	case json.Delim:
		return checkInside(d, t, depth)
	}
	return nil
}

func checkInside(d *json.Decoder, open json.Delim, depth int) error {
	seen := make(map[string]bool)
	for d.More() {
		if open == '{' {
			if err := checkName(d, seen); err != nil {
				return err
			}
		}
		if err := checkValue(d, depth+1); err != nil {
			return err
		}
	}
	if _, err := d.Token(); err != nil {
		return fmt.Errorf("%w: %v", ErrMalformed, err)
	}
	return nil
}

func checkName(d *json.Decoder, seen map[string]bool) error {
	t, err := d.Token()
	if err != nil {
		return fmt.Errorf("%w: %v", ErrMalformed, err)
	}
	name, ok := t.(string)
	if !ok {
		return fmt.Errorf("%w: name expected", ErrMalformed)
	}
	if err := checkString(name); err != nil {
		return err
	}
	// encoding/json takes the long s for an s, which has no lower case of its own.
	folded := strings.ToLower(strings.ToUpper(name))
	if seen[folded] {
		return fmt.Errorf("%w: %q stands there twice", ErrMalformed, name)
	}
	seen[folded] = true
	return nil
}

// checkString refuses what the decoder puts in the place of half a surrogate
// pair: the text did not say what we would read.
func checkString(s string) error {
	if strings.ContainsRune(s, utf8.RuneError) {
		return fmt.Errorf("%w: text is not Unicode", ErrMalformed)
	}
	return nil
}
