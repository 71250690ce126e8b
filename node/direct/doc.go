// Package direct carries envelopes between two nodes over a libp2p stream, the
// best path there is (session.md §11.2).
//
// Two nodes keep one long-lived stream of the protocol /amesh/session/1 and
// use it in both directions. Each side says hello and sends a ping; a stream
// counts as an open path only after its pong, which is an authenticated echo
// because libp2p has verified the peer id. From then on each side pings a quiet
// stream, since a killed QUIC peer would otherwise look alive for 30 s.
//
// An envelope is acknowledged when the peer's node has committed it. One that
// isn't acknowledged in a second makes the path dead: the stream is reset, the
// connection closed, and the owner of every envelope under way is told ErrNoAck
// at once, so that the same bytes can go by the next path. Nothing is resent here.
//
// When two nodes dial each other at the same moment there are two streams. Both
// stay open for receiving. Each side sends on the one that was proven to it last,
// because a peer that was killed and came back has a newer connection than the one
// that still looks alive.
//
// A peer id authorises nothing: who speaks is proven inside the envelopes.
package direct
