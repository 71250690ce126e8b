// Package dht is the mesh's directory without an owner: a Kademlia table in
// which agents leave signed records of where they can be reached.
//
// A record is filed under /amesh-agent/<AMID> and carries its own proof: the
// AMID is computed from the key that signed it. So a server can withhold a
// record or show an old one, but it can't forge one, and whoever reads one
// verifies it again. Servers (ModeServer, run by amesh relay) keep records in
// memory and lose them with the process; nodes (ModeClient) therefore stay
// connected to their bootstrap servers and publish again after every reconnect.
//
// A put that returns no error proves nothing in Kademlia. Publish believes a
// record only after another node handed the same bytes back.
//
// The package also makes the libp2p host that DHT and direct connections share,
// and holds the rules for which addresses of strangers may be dialled at all.
package dht
