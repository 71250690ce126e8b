package api

import (
	"context"
	"time"
)

// Backend is what a node does for its local callers. The node implements it; the
// HTTP server in node/httpapi offers it. Every method is safe for concurrent use
// and returns *Problem for whatever a caller can mend.
//
// A peer is named by AMID, DID or the name that its contact has here.
//
// agent names one of the node's agents; empty means the only one, and with
// several agents a Problem that says so.
type Backend interface {
	Directory
	Introductions
	Diagnosis

	// Status is for owner and agent. With an agent it shows only that agent's view.
	Status(ctx context.Context, agent string) (Status, error)
	// Identity is for owner and agent.
	Identity(ctx context.Context, agent string) (Identity, error)
	// Peers is for owner and agent.
	Peers(ctx context.Context, agent string) ([]Peer, error)

	// Send is for owner and agent. The message is on disk when it returns. With an
	// idempotency key (at most 128 bytes, kept 168 h) the same request gets the
	// first answer again and another request under the same key CodeConflict. It
	// answers when r.Wait is reached or can no longer be, or r.TimeoutMS is over.
	Send(ctx context.Context, agent string, r SendRequest, idempotencyKey string) (Message, error)
	// Message is for owner and agent. With a wait state it answers like Send.
	Message(ctx context.Context, agent, id string, wait State, timeout time.Duration) (Message, error)
	// Messages lists outgoing messages, newest first, at most limit (0: 100).
	Messages(ctx context.Context, agent string, limit int) ([]Message, error)
	// Cancel is for owner and agent; CodeConflict when the message is terminal.
	Cancel(ctx context.Context, agent, id string) (Message, error)

	// Inbox lists incoming messages, oldest first. Owner and agent.
	Inbox(ctx context.Context, agent string, q InboxQuery) (InboxPage, error)
	// Lease hands out new messages, oldest first. While a message of a peer is leased,
	// later ones of that peer wait, so that they stay in order whatever happens to the
	// answer; other peers' do not. Owner and agent.
	Lease(ctx context.Context, agent string, r LeaseRequest) ([]InboxMessage, error)
	// Read returns one message with its body and, when lease is positive and the
	// message is not terminal, leases it. Owner and agent.
	Read(ctx context.Context, agent, id string, lease time.Duration) (InboxMessage, error)
	// Ack ends the work on a message. Repeating the same outcome is no error,
	// another outcome is CodeConflict. Owner and agent.
	Ack(ctx context.Context, agent, id string, r AckRequest) (InboxItem, error)
	// Nack gives a leased message back at once. Owner and agent.
	Nack(ctx context.Context, agent, id string) (InboxItem, error)

	// Contacts lists the agents that are remembered. Owner and agent.
	Contacts(ctx context.Context, agent string) ([]Contact, error)
	// Compare returns what both owners must see alike. It looks the peer up when its
	// key is not known here; CodeNotFound when that is in vain. Owner and agent.
	Compare(ctx context.Context, agent, peer string) (Comparison, error)
	// Verify remembers what the owner found in comparing. Owner only.
	Verify(ctx context.Context, agent, peer string, r VerifyRequest) (Contact, error)

	// Keys shows an agent's public keys and their age. Owner and agent.
	Keys(ctx context.Context, agent string) (Keys, error)
	// RotateKeys makes new exchange and prekeys at once. Owner only.
	RotateKeys(ctx context.Context, agent string) (Keys, error)
	// Revoke makes the agent's signing key leave for ever; CodeConflict when it has.
	// Owner only.
	Revoke(ctx context.Context, agent string, r RevokeRequest) (Revocation, error)

	// Knocks lists requests to talk, newest first. Owner only.
	Knocks(ctx context.Context, agent string) ([]Knock, error)
	// Decide answers a pending knock; CodeConflict when it was answered. Owner only.
	Decide(ctx context.Context, agent, id string, approve bool, r DecideRequest) (Knock, error)

	// Sessions lists sessions, the ones used last first; with a peer (AMID or DID) only
	// those with it. Owner only.
	Sessions(ctx context.Context, agent, peer string) ([]Session, error)
	// Kill closes every open session with a peer and returns them; CodeNotFound when
	// there is none. The grant stays. Owner only.
	Kill(ctx context.Context, agent, peer string) ([]Session, error)

	// Block puts a peer on the policy's block list, or takes it off. In force when it
	// returns; what is under way with the peer ends within a second, and what was granted
	// to it does not come back. Owner only.
	Block(ctx context.Context, agent, peer string, blocked bool) (Policy, error)

	// Policy shows the policy in force. Owner and agent.
	Policy(ctx context.Context, agent string) (Policy, error)
	// Backup writes an encrypted backup of the home to a new file on the node's
	// machine; CodeConflict when the file exists. It holds identities, contacts,
	// grants and mail, but no session. Owner only.
	Backup(ctx context.Context, r BackupRequest) (Backup, error)
	// SetPolicy changes one key, on disk and in force when it returns. Owner only.
	SetPolicy(ctx context.Context, agent string, c PolicyChange) (Policy, error)
}
