// Package organization finds out whether an organisation is who it says: by its
// domain.
//
// Whoever claims a domain gets a challenge of 256 random bits, and has a day to put
// it into a TXT record of the domain. Several resolvers must see it, so that one lie
// on the way proves nothing, and they see it again every day, as long as the claim
// is to hold. What an organisation calls itself is proved by nothing; it is merely
// refused when it looks like something else than it is (T72, T78).
//
// The package asks the DNS, and keeps nothing; docs/protocol/registry-proof.md is the
// normative text.
package organization
