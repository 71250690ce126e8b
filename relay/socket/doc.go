// Package socket is the server's side of a WebSocket (RFC 6455), without extensions
// or subprotocols. It exists because of what a relay has many of: connections that
// say nothing, which cost no buffer here, and small messages, of which many share a
// system call. The client's side is a library's.
//
// A Conn starts no goroutine and keeps no queue. It parses what comes and writes
// bytes that AppendFrame made; whoever uses it decides when. Everything from the peer
// is refused that RFC 6455 does not allow a client to send.
package socket
