package agent

import (
	"fmt"
	"time"

	"amesh/knock"
)

// Limits are the numbers of an agent's mailroom. DefaultLimits has the values of
// docs/protocol/session.md §12.
type Limits struct {
	MaxBody         int           // bytes of one message
	MaxTTL          time.Duration // longest and default deadline of a message
	DedupMemory     time.Duration // how long an incoming message id is remembered
	RelayRetention  time.Duration // how long a relay keeps mail
	Skew            time.Duration // clocks may differ by this much
	SessionKeep     time.Duration // a session that only receives is kept this long after its last use
	IdempotencyKeep time.Duration // answers to idempotency keys
	HistoryKeep     time.Duration // rows of messages in a terminal state
	KnockHistory    int           // knocks that were rejected or expired, and as many that were accepted, for the owner to see

	BundleLife  time.Duration // expires of a bundle after created
	BundleRenew time.Duration // a new bundle is made at this age
	BundleUse   time.Duration // a fetched bundle is used this long
	PrekeyGrace time.Duration // private parts live this long after the bundle's expires
	RecordLife  time.Duration // expires of an agent record
	RecordRenew time.Duration // a new record is signed at this age
	KnockLife   time.Duration // expires of a knock after issued

	OneTime        int           // X25519 one-time keys that are kept ready
	OneTimeKEM     int           // and ML-KEM ones; new ones are made when fewer than a fifth are left
	OneTimeLife    time.Duration // expires of a one-time key after created
	OneTimePerNode int           // answers with one-time keys that one node gets in an hour
	OneTimePerHour int           // and all nodes together
	OneTimeTimeout time.Duration // a peer's node, and registries, are asked for one-time keys this long

	Receiving     int           // sessions with a peer that only receive
	SessionPace   time.Duration // no more than so many new ones are asked for in this time
	SkippedKeep   time.Duration // message keys of envelopes that did not come
	Window        int           // unconfirmed envelopes of messages in a chain, and as many of control
	GapTimeout    time.Duration // a hole in the sequence is waited for this long
	RepeatEvery   time.Duration // stored receipts and answers are sent again at most this often
	ResendFirst   time.Duration // first wait for a receipt before the bytes go again; doubles
	ResendMost    time.Duration // longest such wait
	Batch         int           // envelopes of one peer in one transaction
	QueuedPerPeer int           // envelopes that wait in memory for a peer's clerk
	Held          int           // messages of a peer kept behind a hole
	HoldEnvelopes int           // envelopes of a peer that wait in memory for a session to open them
	HoldBytes     int           // their bytes
	HoldFor       time.Duration // and how long
	HoldBefore    time.Duration // a held envelope is given up as lost after this
	PartsPerPeer  int           // unfinished long messages of a peer
	PartsBytes    int           // bytes reserved for unfinished long messages of all peers
	SkippedBytes  int           // bytes of stored message keys of all sessions

	ResumeEvery    time.Duration // one resume knock to a peer in this time
	ResumeNames    int           // envelope ids remembered as named
	ResumeAge      time.Duration // envelopes sealed longer ago are no reason to resume
	ResumeTaken    time.Duration // one resume knock of a peer is accepted in this time
	ResumeTakenDay int           // and as many a day
	RenewPeer      int           // knocks of one peer answered with a renew in an hour
	RenewAll       int           // and of all
	RenewFollow    int           // knocks made again in an hour because of a peer's renews

	Invites    int           // invites that are kept
	InviteLife time.Duration // of an invite whose maker names no other
	InviteKeep time.Duration // invites that are over are kept this long, for the owner to see

	MomentLife       time.Duration // offers, answers and echoes are sent this long, and waited for
	SignalsPerMinute int           // offers and answers to a peer, and as many of one
	EchoesPerMinute  int           // echoes to a peer, and as many of one
	DirectWindow     time.Duration // a direct path is wanted with the second message in this time; 0: never, not for a conversation either

	StrangeFor    time.Duration // a session is given up when the peer's relays took only knocks for longer
	LookupFirst   time.Duration // first wait after a lookup that found nothing; doubles
	LookupMost    time.Duration // longest such wait
	LookupTimeout time.Duration // one lookup
	JoinLookup    time.Duration // one of a peer that can be asked for its keys, because we have its invite
	StorePause    time.Duration // pause after the store refused a commit
	IdleClerk     time.Duration // a clerk without work goes home after this
}

// DefaultLimits returns the values of docs/protocol/session.md §12.
func DefaultLimits() Limits {
	const day = 24 * time.Hour
	return Limits{
		MaxBody: 1 << 20, MaxTTL: 72 * time.Hour, DedupMemory: 240 * time.Hour, RelayRetention: 72 * time.Hour,
		Skew: 10 * time.Minute, SessionKeep: 30 * day, IdempotencyKeep: 168 * time.Hour, HistoryKeep: 7 * day, KnockHistory: 1000,
		BundleLife: 14 * day, BundleRenew: 7 * day, BundleUse: day, PrekeyGrace: 8 * day,
		OneTime: 100, OneTimeKEM: 20, OneTimeLife: 30 * day, OneTimePerNode: 5, OneTimePerHour: 60, OneTimeTimeout: 2 * time.Second,
		RecordLife: day, RecordRenew: 6 * time.Hour, KnockLife: knock.MaxLife,
		Receiving: 8, SessionPace: 30 * time.Second, SkippedKeep: 7 * day, Window: 400, GapTimeout: time.Minute, RepeatEvery: 5 * time.Second,
		ResendFirst: 15 * time.Second, ResendMost: time.Hour, Batch: 64, QueuedPerPeer: 512, Held: 2000,
		HoldEnvelopes: 64, HoldBytes: 1 << 20, HoldFor: time.Minute, HoldBefore: 10 * time.Second,
		PartsPerPeer: 4, PartsBytes: 64 << 20, SkippedBytes: 64 << 20,
		ResumeEvery: 10 * time.Minute, ResumeNames: 256, ResumeAge: 144 * time.Hour, ResumeTaken: time.Hour, ResumeTakenDay: 5,
		RenewPeer: 10, RenewAll: 100, RenewFollow: 3,
		Invites: 1000, InviteLife: day, InviteKeep: 30 * day,
		MomentLife: 30 * time.Second, SignalsPerMinute: 30, EchoesPerMinute: 120, DirectWindow: 10 * time.Minute,
		StrangeFor:  10 * time.Minute,
		LookupFirst: time.Second, LookupMost: time.Minute, LookupTimeout: 10 * time.Second, JoinLookup: 2 * time.Second, StorePause: time.Second, IdleClerk: 10 * time.Minute,
	}
}

// Check returns an error that names the first pair of windows that do not nest
// (docs/protocol/session.md §12); with such windows legal mail could not be opened
// or could be shown twice.
func (l Limits) Check() error {
	longest := l.MaxTTL + l.RelayRetention + l.Skew
	for _, c := range []struct {
		name string
		have time.Duration
		need time.Duration
	}{
		{"dedup memory", l.DedupMemory, longest},
		{"receive-only sessions", l.SessionKeep, longest},
		{"private parts of a bundle", l.PrekeyGrace, l.BundleUse + longest},
		// They go with the replay memory of their knocks, so this bounds both: a knock may be
		// made in the bundle's last moment by a clock that is behind, and read by one too.
		{"private parts of a bundle and replay memory", l.PrekeyGrace, l.KnockLife + 2*l.Skew},
		{"skipped keys", l.SkippedKeep, l.MaxTTL + l.RelayRetention},
		{"answers to idempotency keys", l.IdempotencyKeep, l.MaxTTL + l.Skew},
		{"a knock's life", l.KnockLife, knock.DefaultLimits().RelayWindow + l.RelayRetention},
		{"a bundle's life", l.BundleLife, l.BundleRenew + l.BundleUse},
		// What a resume has sealed again must still be known to who has it.
		{"dedup memory", l.DedupMemory, l.ResumeAge + l.RelayRetention},
		{"age of envelopes to resume for", l.ResumeAge, l.MaxTTL + l.RelayRetention},
		{"time in the hold", l.HoldFor, 2 * l.HoldBefore},
	} {
		if c.have < c.need {
			return fmt.Errorf("config_invalid: %s is %s, needs at least %s", c.name, c.have, c.need)
		}
	}
	if 2*l.Window >= 1000 {
		return fmt.Errorf("config_invalid: window %d: twice of it must stay below the skip limit of 1000", l.Window)
	}
	return nil
}
