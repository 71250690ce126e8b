// Package api is the local API of a node: its types, its error type and a Go
// client. Whatever faces a person or an agent uses a running node through this
// package alone and never sees the node's insides.
//
// The wire is HTTP and JSON on the node's unix socket (the caller's uid is the
// credential) and on a loopback TCP address (always with a bearer token). Owner
// and agent are two kinds of credential; every method says which it needs.
package api
