// Package httpapi is the door of a node for the programs beside it: an HTTP server
// that offers an api.Backend on the node's unix socket and on loopback TCP.
//
// The two doors differ in how a caller is known. On the socket the kernel says
// which user calls, and the user who runs the node is the owner; a caller who
// shows a token all the same gets that token's rights and no more. On TCP, where
// any program and any web page of the machine can knock, every request needs a
// bearer token, an exact Host, and, when a browser adds them, an Origin and a
// Sec-Fetch-Site of our own.
//
// There are two kinds of callers. The owner may do everything. An agent's token is
// tied to that agent: naming another agent is forbidden, and so are the owner's
// verbs. Every route says who may call it, and one that does not say is the
// owner's.
//
// An answer leaves whole or not at all, because it is put together in memory. So a
// panic half-way becomes a clean problem, and every error, whoever wrote it, has
// the shape of api.Problem.
//
// The files: server.go builds and serves, guard.go lets in, credentials.go knows
// tokens, routes.go has the verbs, answer.go the answers, socket.go the socket.
package httpapi
