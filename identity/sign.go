package identity

import "crypto/ed25519"

// Tag is the purpose of a signature. It stands in front of the signed bytes,
// followed by one zero byte, so that a signature made for one purpose is
// worthless for any other (docs/protocol/session.md §2.2).
type Tag string

// The purposes that exist. A tag is never reused for another layout.
const (
	TagKeyCertificate Tag = "amesh/1 key certificate"
	TagBundle         Tag = "amesh/1 bundle"
	TagOneTimeKey     Tag = "amesh/1 one-time key"
	TagAgentRecord    Tag = "amesh/1 agent record"
	TagKnock          Tag = "amesh/1 knock"
	TagRenew          Tag = "amesh/1 renew"
	TagRollbackMark   Tag = "amesh/1 rollback mark"
	TagRevocation     Tag = "amesh/1 revocation" // by the key that leaves
	TagSuccessor      Tag = "amesh/1 successor"  // by the key that takes its place
	TagRelayConnect   Tag = "amesh/1 relay connect"
	TagRelayNotice    Tag = "amesh/1 relay notice"
	TagRelayPoll      Tag = "amesh/1 relay poll"
	TagMessage        Tag = "amesh/1 message"
	TagAgentCard      Tag = "amesh/1 agent card"
	TagPresence       Tag = "amesh/1 lan presence"
	TagRegistryCall   Tag = "amesh/1 registry request"
	TagInvite         Tag = "amesh/1 invite"
)

// Sign signs tag ‖ 0x00 ‖ body.
func (k PrivateKey) Sign(tag Tag, body []byte) []byte {
	return ed25519.Sign(k.key, tagged(tag, body))
}

// Verify checks a signature over tag ‖ 0x00 ‖ body, the body being the bytes as
// received. It returns ErrSignature and nothing more precise.
func (k PublicKey) Verify(tag Tag, body, sig []byte) error {
	return k.verify(tagged(tag, body), sig)
}

// SignTimestamp signs the bare text of a timestamp, the only thing that the 0.2
// wire signs (AgentMesh §2.3). It covers no body and no server name: whoever
// sees it can use it elsewhere for five minutes. Use it for 0.2 frames only.
func (k PrivateKey) SignTimestamp(stamp string) []byte {
	return ed25519.Sign(k.key, []byte(stamp))
}

// VerifyTimestamp checks what SignTimestamp made.
func (k PublicKey) VerifyTimestamp(stamp string, sig []byte) error {
	return k.verify([]byte(stamp), sig)
}

// SignPrekey signs an X25519 key as the 0.2 wire does: its bare bytes (AgentMesh §4.1).
// Keys of session/1 are in bundles.
func (k PrivateKey) SignPrekey(prekey [ExchangeKeySize]byte) []byte {
	return ed25519.Sign(k.key, prekey[:])
}

// VerifyPrekey checks what SignPrekey made.
func (k PublicKey) VerifyPrekey(prekey [ExchangeKeySize]byte, sig []byte) error {
	return k.verify(prekey[:], sig)
}

func (k PublicKey) verify(msg, sig []byte) error {
	if len(sig) != SignatureSize || !ed25519.Verify(k[:], msg, sig) {
		return ErrSignature
	}
	return nil
}

func tagged(tag Tag, body []byte) []byte {
	b := make([]byte, 0, len(tag)+1+len(body))
	b = append(b, tag...)
	b = append(b, 0)
	return append(b, body...)
}
