package relay

import (
	"errors"
	"runtime"
	"time"
)

// AdmissionLimits bound what somebody costs who has not yet said who it is, and how
// many connections one address may hold. An address is an IPv4 address or an IPv6
// /56. They hold for connections that come through Server.Serve.
type AdmissionLimits struct {
	// WaitingPerAddress is how many connections of one address may be without a name.
	// Default 16.
	WaitingPerAddress int
	// NamedPerAddress is how many connections of one address may be open with a name.
	// Default 512.
	NamedPerAddress int
	// HeaderWait is the time for a TLS handshake, and again for the headers of a
	// request. Default 5 s.
	HeaderWait time.Duration
	// HeaderBytes is the longest request header, rounded up a little by the HTTP
	// server. Default 8 KiB.
	HeaderBytes int
	// IdleWait is how long a connection without upgrade is kept for another request.
	// Default 15 s.
	IdleWait time.Duration
	// AuthRate and AuthBurst are the connect frames of one address that are looked
	// at, per second and at once; beyond them the answer is RATE_LIMITED. Default 50
	// and 500: a restart brings all agents behind one address back at once.
	AuthRate  float64
	AuthBurst int
	// AuthPenalty is how many more a connect frame counts that turns out to be wrong.
	// Default 9.
	AuthPenalty int
	// AuthChecks is how many signatures are checked at a time; the others wait in the
	// order of their coming. Default half of the processors.
	AuthChecks int
}

func defaultAdmission() AdmissionLimits {
	return AdmissionLimits{
		WaitingPerAddress: 16, NamedPerAddress: 512,
		HeaderWait: 5 * time.Second, HeaderBytes: 8 << 10, IdleWait: 15 * time.Second,
		AuthRate: 50, AuthBurst: 500, AuthPenalty: 9,
		AuthChecks: max(1, runtime.GOMAXPROCS(0)/2),
	}
}

func (l AdmissionLimits) check() error {
	return errors.Join(
		positive("WaitingPerAddress", int64(l.WaitingPerAddress)), positive("NamedPerAddress", int64(l.NamedPerAddress)),
		positive("HeaderWait", l.HeaderWait), positive("HeaderBytes", int64(l.HeaderBytes)), positive("IdleWait", l.IdleWait),
		positive("AuthRate", l.AuthRate), positive("AuthBurst", int64(l.AuthBurst)),
		positive("AuthPenalty", int64(l.AuthPenalty)), positive("AuthChecks", int64(l.AuthChecks)),
	)
}
