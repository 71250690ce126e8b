package schema

import (
	"fmt"
	"strings"
)

func problemAt(path []string, code Code, keyword, format string, args ...any) Problem {
	return Problem{Field: field(path), Pointer: pointer(path), Code: code, Keyword: keyword, Message: fmt.Sprintf(format, args...)}
}

// pointer writes a path as RFC 6901 wants it.
func pointer(path []string) string {
	var b strings.Builder
	for _, token := range path {
		b.WriteByte('/')
		b.WriteString(pointerEscape.Replace(token))
	}
	return b.String()
}

var pointerEscape = strings.NewReplacer("~", "~0", "/", "~1")

// field writes a path with dots and brackets; it is for people, and two paths
// may look the same.
func field(path []string) string {
	var b strings.Builder
	for _, token := range path {
		switch {
		case token != "" && strings.Trim(token, "0123456789") == "":
			b.WriteString("[" + token + "]")
		case b.Len() > 0:
			b.WriteString("." + token)
		default:
			b.WriteString(token)
		}
	}
	return b.String()
}
