// Package registry is the server with which agents find each other: who they are, where
// their relays are, their prekeys, and what others think of them. It speaks the 0.2 API
// and additions to it (docs/protocol/registry.md).
//
// Each subject has a file that lists its routes and holds their handlers. A route that
// changes something names who signs it, and its handler runs in a transaction in which
// that is settled: no handler looks at a signature, and none can forget to.
package registry
