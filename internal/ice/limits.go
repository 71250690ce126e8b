package ice

import (
	"errors"
	"fmt"
	"time"
)

// Limits are the numbers of a Puncher. The zero value stands for DefaultLimits.
type Limits struct {
	// Candidates is how many addresses are sent to a peer, and looked at of those that
	// it sends. Default 16.
	Candidates int
	// Checks bounds the connectivity checks that one attempt sends, and the checks of
	// the peer that it answers. Default 50.
	Checks int
	// ChecksPerAddress is the same for one IP address, whatever its ports: more than
	// this nobody gets whom a peer names and who never asked. Default 14.
	ChecksPerAddress int
	// ChecksPerPair bounds the checks between one socket and one address from which
	// nothing was heard. Default 7.
	ChecksPerPair int
	// Reserve is how many of Checks are kept for pairs that answered. Default 8.
	Reserve int
	// Time bounds one attempt from the moment both sides are known. Default 10 s.
	Time time.Duration
	// Gather bounds the questions to STUN servers before an attempt. Default 1.5 s.
	Gather time.Duration
	// GatherMore is how long slower servers are waited for once each socket has an
	// answer. Default 100 ms.
	GatherMore time.Duration
	// Mapping is how long a server's answer is believed. Default 20 s.
	Mapping time.Duration
	// Servers is how many STUN servers are asked. Default 4.
	Servers int
	// Attempts is how many attempts may be under way at once. Default 16.
	Attempts int
}

// DefaultLimits returns the defaults written at the fields.
func DefaultLimits() Limits {
	return Limits{
		Candidates: 16, Checks: 50, ChecksPerAddress: 14, ChecksPerPair: 7, Reserve: 8, Time: 10 * time.Second,
		Gather: 1500 * time.Millisecond, GatherMore: 100 * time.Millisecond, Mapping: 20 * time.Second, Servers: 4, Attempts: 16,
	}
}

func (l Limits) orDefault() (Limits, error) {
	if l == (Limits{}) {
		return DefaultLimits(), nil
	}
	if min(l.Candidates, l.Checks, l.ChecksPerAddress, l.ChecksPerPair, l.Reserve, l.Servers, l.Attempts) <= 0 ||
		min(l.Time, l.Gather, l.GatherMore, l.Mapping) <= 0 {
		return l, fmt.Errorf("ICE limits %+v: %w", l, errNotPositive)
	}
	if l.Checks <= l.Reserve || l.ChecksPerPair > maxChecksPerPair {
		return l, fmt.Errorf("ICE limits %+v: want Checks above Reserve, and ChecksPerPair up to %d", l, maxChecksPerPair)
	}
	return l, nil
}

const (
	// maxDatagram is the longest datagram that is looked at, in bytes. A check of ICE
	// has about 120.
	maxDatagram = 1500
	// maxCandidateText is the longest candidate, in bytes.
	maxCandidateText = 200
	// portQueue is how many messages wait for one attempt on one socket.
	portQueue = 32
	// checkInterval is how often pion looks at what to send; the budget decides.
	checkInterval = 50 * time.Millisecond
	// heardGap is the time between two checks to an address from which the peer was
	// heard.
	heardGap = 100 * time.Millisecond
	// maxChecksPerPair keeps the doubling gaps between checks within numbers.
	maxChecksPerPair = 16
	// ufragLength is the length of our names, 60 bits that the checks of strangers miss.
	ufragLength = 12
	// padding is the length of what a question to a STUN server says without meaning. With
	// it a question has 60 bytes, and an answer with all addresses not more.
	padding = 36
)

// stunWaits are the times after which a question to a STUN server is repeated.
var stunWaits = []time.Duration{100 * time.Millisecond, 200 * time.Millisecond, 400 * time.Millisecond, 800 * time.Millisecond}

// STUNLimits are the numbers of a STUN server. The zero value stands for
// DefaultSTUNLimits.
type STUNLimits struct {
	// Rate and Burst bound the answers to one IPv4 address or IPv6 /56, per second
	// and at once. A sender can be made up, so this is also what can be sent to
	// somebody who never asked: at 20 a second, 14 kbit/s. Default 20 and 200.
	Rate  float64
	Burst int
	// ReadErrors is how many reads may fail one after the other before Run gives up.
	// Default 16.
	ReadErrors int
}

// DefaultSTUNLimits returns the defaults written at the fields.
func DefaultSTUNLimits() STUNLimits { return STUNLimits{Rate: 20, Burst: 200, ReadErrors: 16} }

const (
	// maxRequest is the longest request that is looked at, in bytes. A binding
	// request of ICE has 20 to about 120.
	maxRequest = 512
	// maxUnknown is how many attributes an error names.
	maxUnknown = 8
	// retryPause is the pause after a read failed.
	retryPause = 10 * time.Millisecond
)

func (l STUNLimits) orDefault() (STUNLimits, error) {
	if l == (STUNLimits{}) {
		return DefaultSTUNLimits(), nil
	}
	if l.Rate <= 0 || l.Burst <= 0 || l.ReadErrors <= 0 {
		return l, fmt.Errorf("STUN limits %+v: %w", l, errNotPositive)
	}
	return l, nil
}

var errNotPositive = errors.New("want numbers above 0")
