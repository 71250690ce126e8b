package auth

import (
	"encoding/json"
	"strings"
)

// scopes is a list of scopes: one string with spaces as the standards say, or an array as
// some servers send.
type scopes []string

func (s *scopes) UnmarshalJSON(b []byte) error {
	var line string
	if err := json.Unmarshal(b, &line); err == nil {
		*s = strings.Fields(line)
		return nil
	}
	return json.Unmarshal(b, (*[]string)(s))
}
