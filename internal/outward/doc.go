// Package outward is the HTTP client for URLs that others name: gateways of peers,
// webhooks of agents, key sets, schema registries.
//
// Whoever may name a URL may try to make us knock at our own machine, at our
// neighbours, or where a cloud keeps its secrets. So the address is judged when the
// connection is made, after names are resolved, by internal/reach: a name that is
// harmless when looked at and internal when dialled gains nothing (T80, T81). What is
// refused is refused with ErrBlocked, before a byte is sent. Redirects are handed to
// the caller instead of followed, answers end at a limit, and everything together at a
// time (T82).
//
// What the operator named himself, by Config.Allowed and Config.AllowedHosts, is not
// judged: peers in his own network, tests, containers.
package outward
