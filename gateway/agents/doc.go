// Package agents knows the agents of a gateway's domain: what they are called, how they get
// their messages, what they take, and by which key they are known.
//
// The agents stand in the gateway's database, which several gateways may share. A
// [Directory] keeps all of them in memory as one snapshot that is never changed, only
// replaced: at once by what is done through this Directory, and within a second by what
// another gateway did; who is not known is looked for again in the database before it is
// refused. Lookups take no lock and cost the same for one agent as for
// thousands.
//
// A key is 256 random bits. What is kept of it is a SHA-256 hash, which nobody can turn
// round, since nobody can guess such a key; a key that somebody chose must be long, and the
// operator's salt goes into its hash as agentry does it.
package agents
