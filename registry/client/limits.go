package client

import "time"

// Limits bound what a registry can do to us.
type Limits struct {
	Timeout   time.Duration // for one exchange; default 10 s
	Answer    int64         // bytes of an answer; default 1 MiB
	ListBytes int64         // bytes of a list, such as the revocations; default 8 MiB
	Page      int           // results of one page that are looked at; default 100
}

// DefaultLimits are the numbers of the Limits' comments.
func DefaultLimits() Limits {
	return Limits{Timeout: 10 * time.Second, Answer: 1 << 20, ListBytes: 8 << 20, Page: 100}
}

// maxSaid is how much of a registry's own words an error repeats, in bytes.
const maxSaid = 200
