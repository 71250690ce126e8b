package ice

import (
	"errors"
	"fmt"
	"time"
)

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
