package organization

import "time"

// State is how far an organisation is proved.
type State string

// The states.
const (
	Claimed  State = "claimed"  // never proved; blocks nobody
	Verified State = "verified" // the domain and the name are its own
	Lapsed   State = "lapsed"   // was verified; its administrator can have it verified again
)

// Health is what the looks at an organisation's record have found.
type Health struct {
	State      State
	FailedDays int       // looks in a row that missed the record
	Proved     time.Time // the last look that found it
	Next       time.Time // the next look; zero: none
}

// After is the health after a look:
//
//	            Present                     Absent                   Unknown
//	Claimed     -> Verified                 stays                    stays
//	Verified    stays, failures forgotten   a failed day;            again in an hour;
//	                                        -> Lapsed on the second  -> Lapsed after a week
//	Lapsed      -> Verified                 stays                    stays
func (h Health) After(f Finding, now time.Time) Health {
	switch {
	case f == Present:
		return Health{State: Verified, Proved: now, Next: now.Add(CheckEvery)}
	case h.State != Verified:
		h.Next = time.Time{}
	case f == Absent:
		h.FailedDays++
		h.Next = now.Add(CheckEvery)
		if h.FailedDays >= FailedDays {
			h.State, h.Next = Lapsed, time.Time{}
		}
	default:
		h.Next = now.Add(RetryEvery)
		if now.Sub(h.Proved) >= UnknownLife {
			h.State, h.Next = Lapsed, time.Time{}
		}
	}
	return h
}
