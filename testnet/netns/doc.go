// Package netns builds a small internet out of network namespaces, for a test network
// without containers: a public network, servers on it, boxes of every kind between it
// and private networks, boxes behind boxes, and hosts in which anything can be run.
//
//	world.Open → world.Relay, world.Registry → world.Box → world.Host → host.Start
//
//	    relay   registry   server           public network: Config.Prefix, Prefix6
//	      └────────┼────────┘
//	     ┌─────────┴──┬───────────┐
//	    box          box         box        each a process: amesh testnet natbox
//	     │            │           │
//	 ┌───┴───┐       box        host        192.168.N.0/24, or a part of Prefix behind
//	host   host       │                     an open box, and one /64 of Prefix6 each
//	                 host
//
// It needs root, the program ip, and a binary of amesh. Everything it makes carries the
// number of the process that made it; Close takes all of it away, and Open what a world
// that died has left.
package netns
