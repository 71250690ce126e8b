// Package identity says who somebody is on the mesh and proves it.
//
// An agent is an Ed25519 key pair. Its name, the AMID, is computed from the
// public key, so whoever holds a key can check the name and nobody needs to be
// believed. Everything an agent signs about itself (bundle, one-time keys, key
// certificate, agent record, renew, rollback mark, revocation) is defined here
// with its bytes, its domain tag and its verification; docs/protocol/session.md §2 is the normative text.
//
// Keys enter the program through the Parse functions of this package, which
// refuse small-order and non-canonical points. No libp2p type appears here.
package identity
