package organization

import (
	"crypto/rand"
	"encoding/base64"
)

const (
	recordLabel = "_agentmesh"
	valuePrefix = "agentmesh-verify="
)

// Record is the name of the record that proves a domain.
func Record(domain string) string { return recordLabel + "." + domain }

// NewChallenge is what the record must say: 256 random bits with a prefix.
func NewChallenge() string {
	b := make([]byte, challengeSize)
	rand.Read(b)
	return valuePrefix + base64.StdEncoding.EncodeToString(b)
}
