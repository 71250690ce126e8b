// Package knock asks a stranger for permission to talk.
//
// A knock is three things in one: the signed question who is asking, the first
// message of the key agreement, and, sealed inside, what the asker wants. So an
// approved question cannot be attached to another handshake, and nobody but the
// one who is asked reads what was asked. The answer is accept, reject or pending,
// itself a message of the new session. docs/protocol/session.md §5 and §8 are
// the normative text.
//
// ask.go makes knocks, wire.go reads them, answer.go opens them. policy.go is the
// owner's will and evaluate.go its verdict, machine.go the states of both sides,
// winner.go what happens when both knock, limits.go the numbers, window.go the
// limiter. All of it is pure: no clock, no store, no goroutine. Whoever uses it holds the session
// and the knock's bytes until both are on disk, and only then lets them leave.
package knock
