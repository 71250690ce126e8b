// Package oauth lets a human vouch for an agent with an account elsewhere: at
// GitHub, at Google, or at any OpenID Connect issuer the operator trusts.
//
// An agent asks for a link, signed; the human opens it, is shown which agent the
// link is for, and signs in at the provider; the provider sends the browser back.
// Between the first and the last step stand a State, which lives ten minutes and
// serves once, and a secret that only the one browser has. From that secret come
// the PKCE verifier and the nonce, so nothing that the registry stores helps
// anybody to finish somebody else's flow.
//
// What is learned about the human is the number under which the provider knows
// the account. E-mail addresses are looked at and dropped.
// docs/protocol/registry-proof.md is the normative text.
package oauth
