// Package agent is one agent's mailroom: who it may talk to, the sessions it
// holds, what it wants to send and what it received.
//
// Everything about one peer is done by one goroutine, the peer's clerk, so that a
// session has one owner and needs no lock. A clerk works in batches: it opens or
// seals on copies of its sessions, commits rows and sessions in one transaction
// of the store, and only then swaps the copies in, acknowledges and sends. What
// it has not committed never leaves the process, and a crash at any moment leaves
// a state from which Run goes on (docs/protocol/session.md §9).
//
// The package does no networking. Envelopes leave through a Carrier and arrive by
// Receive; keys of strangers are found through a Directory. The node implements
// both on real paths, tests on a switchboard in memory.
//
// The files: agent.go builds and runs it, rows.go has the rows and their keys, limits.go
// the numbers. clerk.go is the loop of one peer, load.go what it reads before, batch.go its
// transaction, session.go what it keeps of a session. ask.go and answer.go are the two
// sides of a knock, tail.go the message behind it, grant.go what is left of a yes;
// receive.go what arrives, send.go what leaves, outcome.go what became of that; terms.go
// what a session may carry, accountable.go how it is signed, close.go and sessions.go its
// end; block.go what a change of the policy ends. moment.go is what is worth nothing later:
// punch.go the offers for a direct path and when one is wanted, echo.go whether a peer's
// node is there. resume.go and renew.go bring back what was lost, again.go seals again,
// mark.go notices a state that was put back. outbox.go, inbox.go and parts.go are the
// mailboxes, office.go and desk.go what local callers ask of them. prekeys.go has our own
// published keys, onetime.go those that are used once, handout.go who is given them,
// deposited.go those that a registry gives away, peerkeys.go those of a peer, learn.go what
// is found out about one elsewhere, card.go what the owner says of the agent, revoke.go and
// verify.go what owners say of keys; backup.go says what a backup holds, sweep.go what time
// takes away, space.go whether the disk has room.
package agent
