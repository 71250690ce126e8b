// Package lan finds the agents of the local network without any server.
//
// A node says by multicast DNS, on private networks only, that a node with its peer
// id is at its private addresses: nothing else, and no AMID. Whoever hears it connects,
// and the two tell each other over /amesh/lan/1 which agents they have: each with its
// public record, and its word that this very node is its own. A record is never made
// for the network; it is the one that everybody may read anyway.
//
// What was heard is kept in a table for as long as it is said again.
package lan
