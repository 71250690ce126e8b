// Package ratchet is the end-to-end encrypted line between two agents: a hybrid
// key agreement (X25519 and ML-KEM-768) and the Double Ratchet with header
// encryption on top of it. docs/protocol/session.md §4 to §6 is the normative
// text.
//
// The asker makes an Offer from the answerer's published KEM key, puts it into
// a knock, hashes everything both sides can see into th0 (TranscriptHash) and
// gets a Session by Initiate. The answerer gets the same by Respond. Message 0
// travels inside the knock (SealFirst, OpenFirst); Bind then ties all later
// messages to the knock's bytes, and Seal and Open carry the conversation.
//
// There is no clock, no I/O and no goroutine here: time and randomness are
// arguments. A Session is not safe for concurrent use; its owner holds a lock
// from reading it out of the store to writing it back.
//
// After an error nothing changed. Seal and Open work on a copy and put it in
// place only when the outcome is certain, so a forged message cannot move a
// session. A Session that was sealed with must be on disk before the first byte
// leaves: a session read back in an older state would use a key twice.
package ratchet
