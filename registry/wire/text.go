package wire

import (
	"strings"
	"unicode"
	"unicode/utf8"
)

// Line makes one line of at most max bytes of a stranger's text: what moves a cursor,
// changes the direction of writing or cannot be seen goes, white space becomes single
// spaces, and a cut is marked with an ellipsis.
func Line(s string, max int) string {
	s = strings.Join(strings.Fields(visible(s, "")), " ")
	return cut(s, max)
}

// Text does the same for text of several lines, which keeps its line breaks.
func Text(s string, max int) string {
	return cut(strings.TrimSpace(visible(s, "\n")), max)
}

func visible(s, keep string) string {
	return strings.Map(func(r rune) rune {
		switch {
		case strings.ContainsRune(keep, r):
			return r
		case unicode.IsSpace(r):
			return ' '
		case hidden(r):
			return -1
		}
		return r
	}, strings.ToValidUTF8(s, "\uFFFD"))
}

func cut(s string, max int) string {
	const ellipsis = "…"
	if len(s) <= max {
		return s
	}
	end := max - len(ellipsis)
	for end > 0 && !utf8.RuneStart(s[end]) {
		end--
	}
	return strings.TrimRight(s[:end], " \n") + ellipsis
}

// hidden reports whether r is a control or format character, has no glyph or carries
// text that nobody sees.
func hidden(r rune) bool {
	switch {
	case r == 0x115f || r == 0x1160 || r == 0x3164 || r == 0xffa0: // Hangul fillers
		return true
	case r == 0x034f || r == 0x2800: // grapheme joiner, empty braille pattern
		return true
	case r >= 0xe0100 && r <= 0xe01ef: // variation selectors that carry text
		return true
	}
	return !unicode.IsGraphic(r)
}

// Plain reports whether s is text on one line of which everything can be seen.
func Plain(s string) bool {
	return utf8.ValidString(s) && !strings.ContainsFunc(s, hidden)
}
