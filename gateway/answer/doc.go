// Package answer reads what the servers of others answer: gateways of peers and
// webhooks of agents. Whoever answers may be broken or hostile, so what is read ends
// at a limit, what is kept of it is a short and clean text, and how long it makes us
// wait is bounded.
package answer
