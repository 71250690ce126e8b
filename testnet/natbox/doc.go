// Package natbox makes the network namespace or the container that it runs in the box
// between a home and the internet: an open router, one of the kinds of address
// translators that people sit behind, a firewall that lets no UDP pass, or a company's
// proxy with nothing beside it. It is linked into the binary, because the same program is
// the box of the test network in containers and in namespaces.
//
// A box has two interfaces, inside and outside, which must be there with their addresses
// and routes. Run sets rules by nftables over netlink, needs no program beside itself, and
// takes them away when it ends; what an earlier box left is replaced. What the kinds do
// is said at Kind, in the words of RFC 4787 and RFC 5780: a mapping is endpoint independent when one
// inside port has one outside port whoever it talks to, and a filter is when anybody may
// answer to it.
//
// Faults can be changed while a box runs, through the socket of Config.Control: loss is
// drawn by the kernel, a partition drops everything, and a delay takes the packets of both
// directions out of the kernel and gives them back later, which needs /dev/net/tun.
// Traffic of the box's own proxy has loss and partition, and delay on what comes in.
package natbox
