// Package ice helps two nodes to find a direct path through the devices in front of
// them. All code that uses pion stands here, so that moving to another major version
// of it is a change to one package.
//
// STUN is the part of a server: it tells whoever asks from which address and port the
// question came, as the world sees it. It gives no relayed addresses (TURN).
package ice
