package testnet

import "time"

// limits are the numbers of the demo. They bound waits that end with an event;
// nothing here is slept through.
type limits struct {
	// Total is the time for the whole demo, without the cleaning up.
	Total time.Duration
	// Ready is how long a process may take from its start to its addresses.
	Ready time.Duration
	// Stop is how long a process may take to end after SIGTERM.
	Stop time.Duration
	// Deliver is how long a message may take to get where it is expected.
	Deliver time.Duration
	// Away is how long send waits for an agent that is known to be off. The exit
	// code needs the wait to be over, so this time is really spent.
	Away time.Duration
	// Poll is the pause between two looks at something that cannot be waited for.
	Poll time.Duration
	// DialRelay is how long the proxy tries to reach the relay for one client.
	DialRelay time.Duration
	// FileBytes is the longest file that is sent.
	FileBytes int64
	// PartsBytes is the size of the random file that goes through the relay.
	PartsBytes int
	// FrameBytes is the longest WebSocket frame that a part may travel in. A
	// longer one would mean that the file was not cut.
	FrameBytes int
	// Recording is how many bytes the proxy records. What passes after that would
	// not be searched, so the proxy lets nothing more pass.
	Recording int64
	// ChunkBytes is how much of a file is searched at a time.
	ChunkBytes int
	// LogLines is how much of each log is shown after a failure.
	LogLines int
}

func defaultLimits() limits {
	return limits{
		Total:      60 * time.Second,
		Ready:      15 * time.Second,
		Stop:       5 * time.Second,
		Deliver:    15 * time.Second,
		Away:       time.Second,
		Poll:       25 * time.Millisecond,
		DialRelay:  2 * time.Second,
		FileBytes:  1 << 20,
		PartsBytes: 256 << 10,
		FrameBytes: 64 << 10,
		Recording:  64 << 20,
		ChunkBytes: 64 << 10,
		LogLines:   15,
	}
}
