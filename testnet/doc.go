// Package testnet runs amesh as its users will: as processes of their own, which
// talk over real sockets. It is linked into the binary, because the first thing
// that it offers is for everybody: Demo, which shows a relay, two agents and a
// stranger on one machine, and proves what it shows.
//
// The demo drives nodes through the command line wherever a person would, so that
// its transcript can be repeated by hand, and through node/api where it has to
// wait for something. A proxy stands between the nodes and the relay and records
// every byte; at the end that recording and the relay's folder are searched for
// what was said.
//
// All processes, ports and folders belong to one call. Two demos do not meet, and
// nothing is left when the call returns.
package testnet
