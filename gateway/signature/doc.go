// Package signature signs messages for a domain and verifies those of others
// (AMTP §12).
//
// A domain publishes public keys in TXT records at SELECTOR._amtpkey.DOMAIN. The
// sending gateway takes the body of its POST /v1/messages without the member
// signature, brings it into the one form of RFC 8785, and signs that; the
// receiving one does the same with the bytes that came, looks the key up and
// compares. A [Ring] holds our keys: one signs, older ones stay published until
// they are retired. A [Verifier] comes to one of four results (verified, unsigned,
// invalid, key_unavailable), and a [Policy] says what follows.
//
// What the algorithm is, says the key's record and never the message: a signature
// that names another one is invalid. Everything about a signature that can be
// checked without the network is checked before DNS is asked.
package signature
