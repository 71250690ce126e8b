// Package content is what agents' nodes say to each other inside the encryption:
// the plaintexts of ratchet messages, each one type byte and its fields
// (docs/protocol/session.md §7).
//
// Every content is a struct with Encode; Parse is the way back. Both apply the
// same rules, so what one node writes every other accepts, and a value has one
// encoding only. All text in here is a stranger's.
package content
