package relay

import "slices"

// Extension is the name of something a 0.2 client need not know. A client names
// what it speaks in its connect frame; the relay confirms what both speak
// (relay.md §2).
type Extension string

// The extensions.
const (
	// ExtensionChallenge binds the connect frame to this connection and this relay
	// (relay.md §2.1).
	ExtensionChallenge Extension = "challenge"
	// ExtensionAck makes sends answered and receives acknowledged (relay.md §4).
	ExtensionAck Extension = "ack"
	// ExtensionBinary carries envelopes without base64 (relay.md §8).
	ExtensionBinary Extension = "binary"
	// ExtensionAllow keeps strangers from filling a mailbox (relay.md §9).
	ExtensionAllow Extension = "allow"
	// ExtensionEpoch keeps a rollback mark of the agent (relay.md §10).
	ExtensionEpoch Extension = "epoch"
	// ExtensionExpired tells senders what the relay gave up (relay.md §11).
	ExtensionExpired Extension = "expired"
	// ExtensionHidden keeps from others that the agent is connected (relay.md §12).
	ExtensionHidden Extension = "hidden"
)

// extensions lists all, in the order of the confirmation, each with what it is
// nothing without.
var extensions = []struct {
	name, needs Extension
}{
	{name: ExtensionChallenge},
	{name: ExtensionAck},
	{name: ExtensionBinary, needs: ExtensionAck},
	{name: ExtensionAllow, needs: ExtensionAck},
	{name: ExtensionEpoch, needs: ExtensionChallenge},
	{name: ExtensionExpired, needs: ExtensionAck},
	{name: ExtensionHidden},
}

// agree is what both sides speak.
func agree(offered, ours []Extension) []Extension {
	var both []Extension
	for _, e := range extensions {
		if slices.Contains(offered, e.name) && slices.Contains(ours, e.name) &&
			(e.needs == "" || slices.Contains(both, e.needs)) {
			both = append(both, e.name)
		}
	}
	return both
}

// extensions are what this relay speaks.
func (s *Server) extensions() []Extension {
	ours := []Extension{ExtensionChallenge, ExtensionAck, ExtensionBinary, ExtensionAllow, ExtensionHidden}
	if s.marks != nil {
		ours = append(ours, ExtensionEpoch)
	}
	if s.key != nil {
		ours = append(ours, ExtensionExpired)
	}
	return agree(ours, ours) // in the order of the confirmation
}
