package knock

import "time"

// Fixed by the protocol (session.md §5.2).
const (
	// MaxKnock is the longest knock without its tail, in bytes.
	MaxKnock = 4096
	// MaxTail is the longest padded plaintext of a tail, in bytes: behind the
	// longest knock it fills an envelope.
	MaxTail = 40960
	// MaxLife is the longest time from a knock's Issued to its Expires.
	MaxLife = 168 * time.Hour
)

// Limits are the numbers a node may choose.
type Limits struct {
	// PerSender is how many knocks of one sender, its signature proven, are taken in
	// Window.
	PerSender int
	// Total is how many knocks of all senders are taken in Window. The sender's
	// name is not proven at that point, so this is the limit that protects us.
	Total int
	// Window is the time the two above count in.
	Window time.Duration
	// PendingStrangers is how many knocks of strangers may wait for the owner.
	PendingStrangers int
	// RelayWindow is how long A hands one knock to relays. A relay keeps it 72 h,
	// so the last copy is gone before the prekeys it names are.
	RelayWindow time.Duration
}

// DefaultLimits are the values of session.md §8 and §12.
func DefaultLimits() Limits {
	return Limits{
		PerSender:        30,
		Total:            600,
		Window:           time.Minute,
		PendingStrangers: 100,
		RelayWindow:      24 * time.Hour,
	}
}
