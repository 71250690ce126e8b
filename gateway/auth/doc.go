// Package auth says who asks: it turns what a request shows into a Caller, or says why it
// does not.
//
// There are these ways to show who one is. An administrator has a key of the admin key file
// ([AdminKeys]). A local agent has its own key, which package agents knows. A client or
// another gateway has an API key that an administrator made ([APIKeys]), or an access token
// of an authorization server that the operator trusts ([OAuth]). A gateway has a
// certificate whose name is its domain ([CertificateNames]), or at least comes from an
// address at which its domain's gateway is ([Addresses]).
//
// What is proven is written into the Caller: the one agent, or the one domain, for which it
// may speak, and what it may do. Nothing here decides whether a sender must prove anything;
// that is the gateway's policy. Keys and tokens are compared by their hashes in constant
// time, and no error or log line contains one.
package auth
