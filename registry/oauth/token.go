package oauth

import (
	"encoding/base64"
	"strings"

	"amesh/internal/strictjson"
)

// algorithms are those in which an ID token may be signed, whatever its issuer
// says it supports. No symmetric one is among them: with it, everybody who knows
// the public key could sign.
var algorithms = []string{"RS256", "PS256", "ES256", "EdDSA"}

// checkTokenForm looks at an ID token before a parser does. The header may say with
// which of the issuer's keys the token was signed, and nothing that would make
// us look for a key elsewhere or understand more than is understood here.
func checkTokenForm(raw string) error {
	if len(raw) > maxToken {
		return &checkError{ErrToken, "ID token too long"}
	}
	parts := strings.Split(raw, ".")
	if len(parts) != 3 || len(parts[0]) > maxTokenHeader {
		return &checkError{ErrToken, "ID token is not a compact JWS"}
	}
	text, err := base64.RawURLEncoding.Strict().DecodeString(parts[0])
	if err != nil {
		return &checkError{ErrToken, "ID token header is not base64url"}
	}
	members, err := strictjson.Object(text)
	if err != nil {
		return &checkError{ErrToken, "ID token header: " + err.Error()}
	}
	for _, m := range members {
		switch m.Name {
		case "alg", "kid", "typ":
		default:
			return &checkError{ErrToken, "ID token header has " + m.Name}
		}
	}
	return nil
}
