package plan

// How large a testnet may be. Every node is a process of some 50 MB, and every box has a
// network of its own.
const (
	MaxNodes  = 32
	MaxRelays = 8 // as many as a record names
)
