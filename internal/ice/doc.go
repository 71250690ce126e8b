// Package ice helps two nodes to find a direct path through the devices in front of
// them. All code that uses pion stands here, so that moving to another major version
// of it is a change to one package.
//
// A Puncher works on the UDP sockets on which libp2p speaks QUIC, because a hole leads to
// the socket from which it was punched. Begin finds out our addresses (STUN, RFC 8489),
// the two nodes tell each other their Descriptions sealed within their session, Punch
// tries the pairs (ICE, RFC 8445), and what comes out is an address at which plain libp2p
// reaches the peer. Nothing else of ICE stays: no TURN, no trickling, no keepalives, no
// names.
//
// What a peer names is hostile until it answers. Its candidates are filtered, and a
// budget bounds what is sent to whom (T63).
//
// Detect compares what STUN servers see of one socket, and says what kind of NAT there is.
//
// STUN is the part of a server: it tells whoever asks from which address and port the
// question came, as the world sees it. It gives no relayed addresses (TURN).
package ice
