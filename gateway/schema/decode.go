package schema

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
	"unicode/utf8"
)

// Numbers are kept as they are written, because a float64 would round an amount.
const (
	// maxNumber is how long a number may be before it is rounded to a float64.
	maxNumber = 400
	// minExponent is below what a float64 can tell from zero.
	minExponent = -400
)

var errNumber = errors.New("a number is out of the range of a double")

// measure counts the values of raw and how deep they are nested, without
// reading them. The count is never too low for text that is JSON.
func measure(raw []byte) (values, depth int) {
	level := 0
	inString := false
	values = 1
	for i := 0; i < len(raw); i++ {
		c := raw[i]
		switch {
		case inString:
			if c == '\\' {
				i++
			} else if c == '"' {
				inString = false
			}
		case c == '"':
			inString = true
		case c == '{' || c == '[':
			level++
			values++
			depth = max(depth, level)
		case c == '}' || c == ']':
			level--
		case c == ',':
			values++
		}
	}
	return values, depth
}

// decode reads one JSON value. Its depth must have been measured.
func decode(raw []byte) (any, error) {
	if !utf8.Valid(raw) {
		return nil, errors.New("not UTF-8")
	}
	d := json.NewDecoder(bytes.NewReader(raw))
	d.UseNumber()
	var v any
	if err := d.Decode(&v); err != nil {
		return nil, err
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return nil, errors.New("more after the value")
	}
	return tame(v)
}

// tame makes numbers safe to calculate with: 1e999999999 is a dozen bytes in a
// message and a gigabyte as an exact fraction.
func tame(v any) (any, error) {
	switch v := v.(type) {
	case json.Number:
		return tameNumber(v)
	case []any:
		for i := range v {
			var err error
			if v[i], err = tame(v[i]); err != nil {
				return nil, err
			}
		}
	case map[string]any:
		for name, member := range v {
			tamed, err := tame(member)
			if err != nil {
				return nil, err
			}
			v[name] = tamed
		}
	}
	return v, nil
}

func tameNumber(n json.Number) (any, error) {
	f, err := strconv.ParseFloat(string(n), 64)
	if err != nil {
		return nil, fmt.Errorf("%w: %s", errNumber, clip(string(n)))
	}
	if len(n) > maxNumber {
		return f, nil
	}
	if i := strings.IndexAny(string(n), "eE"); i >= 0 {
		if e, err := strconv.Atoi(string(n[i+1:])); err != nil || e < minExponent {
			return f, nil
		}
	}
	return n, nil
}
