package main

import (
	"fmt"
	"strings"
	"unicode"
	"unicode/utf8"
)

// plain makes one line of text harmless to show: what moves the cursor, changes
// the direction of writing or cannot be seen is written as an escape. Names and
// texts of peers are data of strangers, and a terminal obeys what it is shown.
func plain(s string) string { return escape(s, "") }

// plainLines does the same for text that may have several lines.
func plainLines(s string) string { return escape(s, "\n\t") }

func escape(s, keep string) string {
	if !needsEscape(s, keep) {
		return s
	}
	var b strings.Builder
	for i, r := range s {
		switch {
		case r == utf8.RuneError && !strings.HasPrefix(s[i:], string(utf8.RuneError)):
			fmt.Fprintf(&b, `\x%02x`, s[i])
		case strings.ContainsRune(keep, r) || !hidden(r):
			b.WriteRune(r)
		case r < 0x80:
			fmt.Fprintf(&b, `\x%02x`, r)
		default:
			fmt.Fprintf(&b, `\u{%x}`, r)
		}
	}
	return b.String()
}

func needsEscape(s, keep string) bool {
	if !utf8.ValidString(s) {
		return true
	}
	return strings.ContainsFunc(s, func(r rune) bool {
		return hidden(r) && !strings.ContainsRune(keep, r)
	})
}

// hidden reports whether r is a control, a format character (bidirectional
// overrides, zero-width characters, tags), a separator that breaks lines, not
// assigned to anything, or a letter without a glyph.
func hidden(r rune) bool {
	switch {
	case r < 0x20 || r >= 0x7f && r < 0xa0:
		return true
	case r < 0xad:
		return false
	case r == 0x115f || r == 0x1160 || r == 0x3164 || r == 0xffa0: // Hangul fillers
		return true
	case r == 0x034f || r == 0x2800: // grapheme joiner, empty braille pattern
		return true
	case r >= 0xe0100 && r <= 0xe01ef: // variation selectors that carry text
		return true
	}
	return !unicode.IsGraphic(r) || unicode.In(r, unicode.Zl, unicode.Zp)
}
