package identity

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"time"

	"amesh/internal/wire"
)

// What an agent record may hold.
const (
	MaxRecordSize = 8192           // bytes, signature included
	RecordLife    = 24 * time.Hour // from Created to Expires
	MaxRelays     = 8
	MaxPeerIDs    = 8
	MaxAddresses  = 16
)

const (
	recordVersion  = 1
	maxRelayURL    = 255
	maxPeerID      = 255
	maxAddress     = 100
	sequenceOffset = 1 + AMIDSize + 32
)

// ErrRecordExpired reports an agent record outside its times.
var ErrRecordExpired = errors.New("record_expired")

// AgentRecord is what the mesh knows about where an agent is: its relays, the
// peer ids of its node, perhaps addresses, and its bundle (session.md §2.6).
type AgentRecord struct {
	AMID       AMID
	SigningKey PublicKey
	Sequence   uint64
	Created    time.Time
	Expires    time.Time
	Relays     []string
	PeerIDs    []string
	Addresses  []string // without /p2p
	Bundle     *Bundle

	raw []byte
}

// Raw is the signed bytes that ParseAgentRecord read; they are not to be changed.
func (rec *AgentRecord) Raw() []byte { return rec.raw }

// SignRecord returns the signed bytes of rec. AMID and SigningKey are taken from
// key, the bundle from bundleRaw, which must be the same agent's.
func SignRecord(key PrivateKey, rec AgentRecord, bundleRaw []byte) ([]byte, error) {
	rec.SigningKey, rec.AMID = key.Public(), key.AMID()
	var err error
	if rec.Bundle, err = ParseBundle(bundleRaw); err != nil {
		return nil, fmt.Errorf("sign record: %w", err)
	}
	if err := rec.check(); err != nil {
		return nil, fmt.Errorf("sign record: %w", err)
	}
	w := wire.NewWriter(4096)
	w.U8(recordVersion)
	w.Fixed(rec.AMID[:])
	w.Fixed(rec.SigningKey[:])
	w.U64(rec.Sequence)
	writeTime(w, rec.Created)
	writeTime(w, rec.Expires)
	for _, list := range [][]string{rec.Relays, rec.PeerIDs, rec.Addresses} {
		w.List(list)
	}
	w.LP16(bundleRaw)
	w.Fixed(key.Sign(TagAgentRecord, w.Bytes()))
	if n := len(w.Bytes()); n > MaxRecordSize {
		return nil, fmt.Errorf("sign record: %w: %d bytes, at most %d", wire.ErrMalformed, n, MaxRecordSize)
	}
	return w.Bytes(), nil
}

// ParseAgentRecord reads a record and verifies everything in it but the time. It
// returns what ParseBundle returns, for the record or for its bundle.
func ParseAgentRecord(raw []byte) (*AgentRecord, error) {
	if len(raw) > MaxRecordSize {
		return nil, fmt.Errorf("record: %w: %d bytes, at most %d", wire.ErrMalformed, len(raw), MaxRecordSize)
	}
	rec, bundle, err := readRecord(raw)
	if err != nil {
		return nil, fmt.Errorf("record: %w", err)
	}
	if err := checkOwner(rec.SigningKey, rec.AMID); err != nil {
		return nil, fmt.Errorf("record: %w", err)
	}
	body, sig := split(raw)
	if err := rec.SigningKey.Verify(TagAgentRecord, body, sig); err != nil {
		return nil, fmt.Errorf("record: %w", err)
	}
	if rec.Bundle, err = ParseBundle(bundle); err != nil {
		return nil, fmt.Errorf("record: %w", err)
	}
	if err := rec.check(); err != nil {
		return nil, fmt.Errorf("record: %w", err)
	}
	rec.raw = bytes.Clone(raw)
	return rec, nil
}

func readRecord(raw []byte) (*AgentRecord, []byte, error) {
	rec := &AgentRecord{}
	r := wire.NewReader(raw)
	if v := r.U8(); v != recordVersion {
		r.Fail("version %d", v)
	}
	r.Into(rec.AMID[:])
	r.Into(rec.SigningKey[:])
	rec.Sequence = r.U64()
	rec.Created = readTime(r)
	rec.Expires = readTime(r)
	rec.Relays = r.List(MaxRelays, maxRelayURL)
	rec.PeerIDs = r.List(MaxPeerIDs, maxPeerID)
	rec.Addresses = r.List(MaxAddresses, maxAddress)
	bundle := r.LP16(MaxRecordSize)
	r.Fixed(SignatureSize)
	return rec, bundle, r.Done()
}

func (rec *AgentRecord) check() error {
	if err := checkLife(rec.Created, rec.Expires, RecordLife); err != nil {
		return err
	}
	if rec.Bundle.SigningKey != rec.SigningKey {
		return fmt.Errorf("%w: bundle of %s in the record of %s", ErrMismatch, rec.Bundle.AMID, rec.AMID)
	}
	if err := checkList("relay", rec.Relays, MaxRelays, maxRelayURL); err != nil {
		return err
	}
	if err := checkList("peer id", rec.PeerIDs, MaxPeerIDs, maxPeerID); err != nil {
		return err
	}
	return checkList("address", rec.Addresses, MaxAddresses, maxAddress)
}

func checkList(what string, list []string, count, size int) error {
	if len(list) > count {
		return fmt.Errorf("%w: %d times %s, at most %d", wire.ErrMalformed, len(list), what, count)
	}
	for _, s := range list {
		if s == "" || len(s) > size || !textOK([]byte(s)) {
			return fmt.Errorf("%w: %s %.40q", wire.ErrMalformed, what, s)
		}
	}
	return nil
}

// Valid says whether the record and its bundle hold at the time now. It returns
// ErrRecordExpired or ErrBundleExpired.
func (rec *AgentRecord) Valid(now time.Time) error {
	if err := checkNow(now, rec.Created, rec.Expires); err != nil {
		return fmt.Errorf("record: %w: %w", ErrRecordExpired, err)
	}
	return rec.Bundle.Usable(now)
}

// Newer compares two signed records of one agent, or two cards, both already
// verified: 1 when a is newer, -1 when b is, 0 when they are the same bytes. Two
// under one sequence are ordered by their bytes, so that all who compare agree.
func Newer(a, b []byte) int {
	sa, sb := recordSequence(a), recordSequence(b)
	switch {
	case sa > sb:
		return 1
	case sa < sb:
		return -1
	}
	return bytes.Compare(a, b)
}

func recordSequence(raw []byte) uint64 {
	if len(raw) < sequenceOffset+8 {
		return 0
	}
	return binary.BigEndian.Uint64(raw[sequenceOffset:])
}
