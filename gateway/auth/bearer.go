package auth

import (
	"net/http"
	"strings"
)

// Bearer is the token of a request's Authorization header, "" if there is none. More than
// one header is none: two readers of one request must not see two callers.
func Bearer(h http.Header) string {
	values := h.Values("Authorization")
	if len(values) != 1 {
		return ""
	}
	scheme, token, ok := strings.Cut(strings.TrimSpace(values[0]), " ")
	if !ok || !strings.EqualFold(scheme, "Bearer") {
		return ""
	}
	return strings.TrimSpace(token)
}
