// Package client talks to registries: amesh's own and those of AgentMesh 0.2.
//
// A registry is a stranger. Whatever it answers is bounded in size and time, never
// redirected, and nothing of it is believed that is not signed by the agent it is
// about: names are computed from keys anew, records, cards, one-time keys and
// revocations are verified here. What a registry merely says, a tier or a score, is
// handed out as its word.
//
// What is signed covers method, path and body where the registry understands that,
// which Info finds out. A registry of plain 0.2 understands a signed timestamp only,
// and whoever sees one can use it elsewhere for five minutes: the client signs so
// only where the caller allows it, and never for a registry that once spoke the
// other way.
//
// client.go makes it, transport.go is one exchange, sign.go proves who asks, errors.go
// says what went wrong. agents.go, prekeys.go, records.go, search.go, revocation.go,
// reputation.go, oauth.go and organization.go have the calls, limits.go the numbers.
package client
