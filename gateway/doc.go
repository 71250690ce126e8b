// Package gateway is the door of one AMTP domain: agents hand it messages for anybody,
// other gateways hand it messages for its agents, and administrators say who its agents
// are. It keeps what it accepted until it is delivered or given up, and says which.
//
// A message is accepted in one transaction: with the answer it is on disk, and what has
// the same idempotency key is not delivered again. Agents that fetch have it in their
// inbox then; for the others it waits in the queue, which package delivery empties.
//
// What is behind the door is in the packages below: amtp has the words of the protocol,
// store what is kept, discovery and peer other gateways, webhook agents that are pushed
// to, schema and agents what their names say. docs/protocol/amtp.md is normative.
package gateway
