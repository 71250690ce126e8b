package dht

import (
	"fmt"
	"time"
)

// CardLimits are the numbers of agent cards. The zero value means DefaultCardLimits.
type CardLimits struct {
	// Cards and Bytes bound what a shelf holds. Beyond, new agents are refused; those
	// that are there may still renew. Defaults 20,000 and 64 MiB.
	Cards int
	Bytes int64
	// PerNetwork bounds the cards that came from one IPv4 address or IPv6 /56; this
	// machine itself is not bounded. Default 64.
	PerNetwork int
	// KeepFor is how long a card is kept without being left again, and not longer than
	// it holds. Default 24 h.
	KeepFor time.Duration
	// PerSecond and Burst are the requests that one IPv4 address or IPv6 /56 may make.
	// Defaults 5 and 40.
	PerSecond float64
	Burst     int
	// Serving bounds the requests that are answered at once. Default 64.
	Serving int
	// Answer and AnswerBytes bound the cards in one answer. Defaults 64 and 256 KiB.
	Answer      int
	AnswerBytes int
	// RequestTime bounds one request with its answer, on both sides. Default 5 s.
	RequestTime time.Duration
	// Topics bounds how many words a shelf is announced under. Default 256.
	Topics int
	// AnnounceEvery is the longest time between two announcements; servers forget them
	// after AnnounceLife. AnnounceSoon is the pause after a new word. Defaults 6 h,
	// 24 h and 10 s.
	AnnounceEvery time.Duration
	AnnounceLife  time.Duration
	AnnounceSoon  time.Duration
	// Providers bounds who is asked in one search. Default 16.
	Providers int
	// Found bounds the cards that a search returns. Default 256.
	Found int
	// SearchTimeout bounds a search. Default 10 s.
	SearchTimeout time.Duration
}

// DefaultCardLimits returns the defaults written at the fields.
func DefaultCardLimits() CardLimits {
	return CardLimits{
		Cards: 20_000, Bytes: 64 << 20, PerNetwork: 64, KeepFor: 24 * time.Hour,
		PerSecond: 5, Burst: 40, Serving: 64,
		Answer: 64, AnswerBytes: 256 << 10, RequestTime: 5 * time.Second,
		Topics: 256, AnnounceEvery: 6 * time.Hour, AnnounceLife: 24 * time.Hour, AnnounceSoon: 10 * time.Second,
		Providers: 16, Found: 256, SearchTimeout: 10 * time.Second,
	}
}

func (l CardLimits) check() error {
	for name, v := range map[string]int64{
		"Cards": int64(l.Cards), "Bytes": l.Bytes, "PerNetwork": int64(l.PerNetwork), "KeepFor": int64(l.KeepFor),
		"Burst": int64(l.Burst), "Serving": int64(l.Serving),
		"RequestTime": int64(l.RequestTime), "Topics": int64(l.Topics),
		"AnnounceEvery": int64(l.AnnounceEvery), "AnnounceLife": int64(l.AnnounceLife), "AnnounceSoon": int64(l.AnnounceSoon),
		"Providers": int64(l.Providers), "Found": int64(l.Found), "SearchTimeout": int64(l.SearchTimeout),
	} {
		if v <= 0 {
			return fmt.Errorf("card limit %s is %d, want more than 0", name, v)
		}
	}
	if l.PerSecond <= 0 {
		return fmt.Errorf("card limit PerSecond is %v, want more than 0", l.PerSecond)
	}
	if l.Answer < 1 || l.Answer > 255 {
		return fmt.Errorf("card limit Answer is %d, want 1 to 255", l.Answer)
	}
	if l.AnswerBytes < maxCardFrame || l.AnswerBytes > maxAnswer {
		return fmt.Errorf("card limit AnswerBytes is %d, want %d to %d", l.AnswerBytes, maxCardFrame, maxAnswer)
	}
	return nil
}
