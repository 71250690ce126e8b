// Package delivery takes messages out of the queue and to their recipients: to gateways
// of other domains by gateway/peer, to agents' URLs by gateway/webhook.
//
// Every recipient is tried at once, then at growing and random distances from a second
// to an hour, for seven days; what is refused for good, or still there after that, is a
// dead letter, and its sender hears of it if it is one of ours. What stands in the queue
// is in the store, and leaves it only by being written down as done: a gateway that is
// killed at any moment tries again, under the same id and key, so that a receiver which
// knows what it has takes nothing twice.
//
// A target, which is a domain or an agent, starts with one request at a time, gets twice
// as many with every answer, and half as many with every failure. One that fails at one
// at a time is left alone, for a second first and for a minute in the end, whatever waits
// for it: it is asked at most once a second, and it takes no turn from others.
//
//	             answered             answered
//	+-----------+ -----> +-----------+ -----> … up to Limits.PerTarget
//	| one at    |        | two at    |
//	| a time    | <----- | a time    | <-----
//	+-----------+ failed +-----------+ failed
//	  |       ^
//	  failed  pause over
//	  v       |
//	+-----------+
//	| left      |  1 s, doubling to Limits.MaxPause; what is due then is put off
//	| alone     |
//	+-----------+
package delivery
