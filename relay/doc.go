// Package relay carries sealed envelopes between agents that cannot reach each
// other directly, and keeps them for those who are away.
//
// One WebSocket endpoint serves every AgentMesh 0.2 client; a client that names
// extensions in its connect frame and finds them confirmed gets more. With the
// extension "ack" nothing is lost in silence: the relay answers a send only when
// the envelope is synced to its mailbox, and keeps it until the receiver says
// that it has it. A client without "ack" gets every frame at most once, because
// a repeated frame would kill the session of a published SDK.
//
// The frames are JSON objects, one per text message, told apart by "type";
// docs/protocol/relay.md is the normative text. The Server knows a Mailbox, not
// a database. The Client stays connected, sends in the order of the calls and
// says of every message what became of it.
//
// A relay sees who writes to whom and how much. It reads no content, and it
// writes no pair of names to its log.
package relay
