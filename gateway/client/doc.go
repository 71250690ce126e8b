// Package client asks a gateway: its admin API with an admin key, an agent's inbox with
// that agent's key. The verbs of the command line are its users.
//
// It believes a gateway as far as a person at a terminal would: answers are bounded,
// redirects are not followed, so that no key goes where it was not meant to, and what an
// answer lacks is zero. Texts of a gateway are data of strangers; who shows them escapes
// them.
package client
