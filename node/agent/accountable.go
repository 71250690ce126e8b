package agent

import (
	"amesh/identity"
	"amesh/internal/content"
	"amesh/internal/store"
	"amesh/node/api"
)

// Messages that are signed inside, so that both owners can show who said what to whom
// (session.md §9.5).

// sessionProof is what an accountable session keeps of its start.
type sessionProof struct {
	PeerKey identity.PublicKey `json:"peer_key"`
	Knock   []byte             `json:"knock,omitempty"` // without its tail; of accountable sessions only
}

// proofFrom keeps the peer's key, and of an accountable session the knock.
func proofFrom(m content.Mode, peer identity.PublicKey, knock []byte) sessionProof {
	if m != content.Accountable {
		return sessionProof{PeerKey: peer}
	}
	return sessionProof{PeerKey: peer, Knock: knock}
}

// proofRow is what shows a third party that an incoming message was said.
type proofRow struct {
	Signature  []byte             `json:"signature"`
	Key        identity.PublicKey `json:"key"` // of the sender
	Content    [32]byte           `json:"content"`
	Binding    [32]byte           `json:"binding"` // H(transcript ‖ knock)
	Transcript [32]byte           `json:"transcript"`
	Knock      []byte             `json:"knock"`
}

// describe is the description of a row as it travels in a session.
func (c *clerk) describe(s *session, o *outRow, body []byte) content.Description {
	d := o.description()
	if s.mode() == content.Accountable {
		d.Signature = c.a.Key.Sign(identity.TagMessage, content.Statement(s.r.Binding(), d.Sequence, content.Hash(d, body)))
	}
	return d
}

// signedHash is the content hash of a message, which only an accountable session needs
// before the message is stored.
func (s *session) signedHash(d *content.Description, body []byte) [32]byte {
	if s.mode() != content.Accountable {
		return [32]byte{}
	}
	return content.Hash(*d, body)
}

// attests reports whether the peer signed a description as the session's mode wants it:
// in a private one it may not, or its receiver would hold a proof that nobody agreed to.
func (s *session) attests(d *content.Description, hash [32]byte) bool {
	if s.mode() != content.Accountable {
		return len(d.Signature) == 0
	}
	return s.PeerKey.Verify(identity.TagMessage, content.Statement(s.r.Binding(), d.Sequence, hash), d.Signature) == nil
}

// proofOf is what is kept of a message's signature, nil in a private session.
func (s *session) proofOf(d *content.Description, hash [32]byte) *proofRow {
	if s.mode() != content.Accountable {
		return nil
	}
	return &proofRow{
		Signature: d.Signature, Key: s.PeerKey, Content: hash, Binding: s.r.Binding(), Transcript: s.r.Transcript(), Knock: s.Knock,
	}
}

// keepProof keeps the proof of a message that enters the inbox.
func (c *clerk) keepProof(tx store.Tx, in *inRow, p *proofRow) error {
	in.Mode = content.Private
	if p == nil {
		return nil
	}
	in.Mode = content.Accountable
	return setJSON(tx, c.a.key(rowProof, in.Local[:]), p)
}

// proof is the proof of an incoming message as callers see it, nil without one.
func (a *Agent) proof(r store.Reader, in *inRow) (*api.Proof, error) {
	p, found, err := getJSON[proofRow](r, a.key(rowProof, in.Local[:]))
	if err != nil || !found {
		return nil, err
	}
	return &api.Proof{
		Signature: p.Signature, Key: p.Key[:], ContentHash: p.Content[:], Deadline: in.Deadline,
		Binding: p.Binding[:], Transcript: p.Transcript[:], Knock: p.Knock,
	}, nil
}

// modeName is a mode for callers, empty while there is none.
func modeName(m content.Mode) string {
	if m == 0 {
		return ""
	}
	return m.String()
}
