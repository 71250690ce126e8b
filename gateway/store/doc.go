// Package store keeps what a gateway must not forget: messages and what became of them
// for every recipient, the queue of those that still have to leave, inboxes, the keys
// that make a repeated message harmless, and the agents, schemas, keys and domains of
// its operator. It does so in SQLite for one gateway, or in PostgreSQL for several that
// share a database; with OpenMemory in a temporary file that goes with the gateway.
//
// A message is accepted when Accept has returned: it is on disk with all its recipients,
// and whatever dies from then on, it is delivered, in the queue or a dead letter.
// Requests that wait at the same time share one transaction, and with it one sync of the
// disk. Every change is of single rows; nothing is read, changed and written back.
//
//	Accept ──> pull:         delivered (inbox) ──Ack──> acknowledged
//	       ──> push, remote: queued ──Lease──> Finish ──> delivered
//	                            ^                    ├──> delivering  (the peer has it)
//	                            ├──── retrying <─────┤
//	                            └──── Redrive <───── failed (dead letter)
package store
