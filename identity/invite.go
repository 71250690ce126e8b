package identity

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"math"
	"strings"
	"time"

	"amesh/internal/wire"
)

// What an invite may hold.
const (
	MaxInviteSize      = 1024 // bytes, signature included
	MaxInviteRelays    = 2
	MaxInviteAddresses = 2
	MaxInviteIntents   = 8
	MaxInviteName      = 32 // bytes
	// InviteLife is the longest time from an invite's making to its end.
	InviteLife = 366 * 24 * time.Hour
)

const (
	inviteVersion     = 1
	inviteSecretSize  = 16
	inviteIDSize      = 4
	maxInvitePeerID   = 64
	maxInviteIntent   = 128
	inviteSecretTag   = "amesh/1 invite secret"
	usualRelayScheme  = "wss://"
	usualRelayPath    = "/v1/connect"
	latestInviteTime  = math.MaxUint32
	highestInviteMark = math.MaxUint32
)

// ErrInviteExpired reports an invite whose time is over.
var ErrInviteExpired = errors.New("invite_expired")

// InviteSecret is what whoever knows it may enter with. It prints as "(hidden)".
type InviteSecret [inviteSecretSize]byte

// NewInviteSecret draws a secret.
func NewInviteSecret(rand io.Reader) (s InviteSecret, err error) {
	if _, err := io.ReadFull(rand, s[:]); err != nil {
		return s, fmt.Errorf("invite secret: %w", err)
	}
	return s, nil
}

// String hides the secret.
func (InviteSecret) String() string { return "(hidden)" }

// GoString hides the secret.
func (InviteSecret) GoString() string { return "(hidden)" }

// Hash is what the inviter keeps of the secret.
func (s InviteSecret) Hash() [32]byte {
	return sha256.Sum256(append(append([]byte(inviteSecretTag), 0), s[:]...))
}

// ID names the invite: both sides can compute it, and it gives the secret away to
// nobody.
func (s InviteSecret) ID() InviteID {
	h := s.Hash()
	return InviteID(h[:inviteIDSize])
}

// InviteID is the first four bytes of the hash of an invite's secret.
type InviteID [inviteIDSize]byte

// String is eight hex digits.
func (id InviteID) String() string { return hex.EncodeToString(id[:]) }

// ParseInviteID reads what String writes, in either case.
func ParseInviteID(s string) (id InviteID, err error) {
	b, err := hex.DecodeString(strings.ToLower(s))
	if err != nil || len(b) != inviteIDSize {
		return id, fmt.Errorf("%w: invite id %.40q, want 8 hex digits", wire.ErrMalformed, s)
	}
	return InviteID(b), nil
}

// Invite is what an agent's owner hands to somebody so that his agent is let in: who
// invites, where, and the secret that opens (invite.md §2).
type Invite struct {
	SigningKey PublicKey
	Secret     InviteSecret
	Expires    time.Time
	// Epoch and Sequence are those of the inviter's bundle when the invite was made: an
	// older bundle is not the inviter's newest. Both end at 2³² − 1.
	Epoch     uint32
	Sequence  uint64
	Name      string   // what the inviter calls itself; empty for nothing
	Relays    []string // URLs as relay.ParseURL takes them
	PeerID    string   // with Addresses only
	Addresses []string // multiaddrs without /p2p, where the owner announces them
	Intents   []string // none: every intent
}

// AMID is the inviter's name.
func (v *Invite) AMID() AMID { return v.SigningKey.AMID() }

// ID names the invite.
func (v *Invite) ID() InviteID { return v.Secret.ID() }

// Valid says whether the invite's time is not over. It returns ErrInviteExpired.
func (v *Invite) Valid(now time.Time) error {
	if now.After(v.Expires) {
		return fmt.Errorf("%w: at %s", ErrInviteExpired, v.Expires.UTC().Format(time.RFC3339))
	}
	return nil
}

// SignInvite returns the signed bytes of v. The signing key is key's. It refuses what
// ParseInvite would refuse.
func SignInvite(key PrivateKey, v Invite) ([]byte, error) {
	v.SigningKey = key.Public()
	relays := make([]string, len(v.Relays))
	for i, url := range v.Relays {
		relays[i] = shortRelay(url)
	}
	if err := v.check(relays); err != nil {
		return nil, fmt.Errorf("sign invite: %w", err)
	}
	w := wire.NewWriter(256)
	w.U8(inviteVersion)
	w.Fixed(v.SigningKey[:])
	w.Fixed(v.Secret[:])
	w.U32(uint32(v.Expires.Unix()))
	w.U32(v.Epoch)
	w.U32(uint32(min(v.Sequence, highestInviteMark)))
	w.LP8([]byte(v.Name))
	w.List(relays)
	w.LP8([]byte(v.PeerID))
	w.List(v.Addresses)
	w.List(v.Intents)
	w.Fixed(key.Sign(TagInvite, w.Bytes()))
	if n := len(w.Bytes()); n > MaxInviteSize {
		return nil, fmt.Errorf("sign invite: %w: %d bytes, at most %d", wire.ErrMalformed, n, MaxInviteSize)
	}
	return w.Bytes(), nil
}

// ParseInvite reads an invite and verifies everything in it but the time. It returns
// wire.ErrMalformed, ErrKey or ErrSignature.
func ParseInvite(raw []byte) (*Invite, error) {
	if len(raw) > MaxInviteSize {
		return nil, fmt.Errorf("invite: %w: %d bytes, at most %d", wire.ErrMalformed, len(raw), MaxInviteSize)
	}
	v, relays, err := readInvite(raw)
	if err != nil {
		return nil, fmt.Errorf("invite: %w", err)
	}
	if _, err := ParsePublicKey(v.SigningKey[:]); err != nil {
		return nil, fmt.Errorf("invite: %w", err)
	}
	body, sig := split(raw)
	if err := v.SigningKey.Verify(TagInvite, body, sig); err != nil {
		return nil, fmt.Errorf("invite: %w", err)
	}
	if err := v.check(relays); err != nil {
		return nil, fmt.Errorf("invite: %w", err)
	}
	return v, nil
}

func readInvite(raw []byte) (*Invite, []string, error) {
	v := &Invite{}
	r := wire.NewReader(raw)
	if version := r.U8(); version != inviteVersion {
		r.Fail("version %d", version)
	}
	r.Into(v.SigningKey[:])
	r.Into(v.Secret[:])
	v.Expires = time.Unix(int64(r.U32()), 0).UTC()
	v.Epoch = r.U32()
	v.Sequence = uint64(r.U32())
	v.Name = string(r.LP8(MaxInviteName))
	relays := r.List(MaxInviteRelays, maxRelayURL)
	v.PeerID = string(r.LP8(maxInvitePeerID))
	v.Addresses = r.List(MaxInviteAddresses, maxAddress)
	v.Intents = r.List(MaxInviteIntents, maxInviteIntent)
	r.Fixed(SignatureSize)
	for _, s := range relays {
		v.Relays = append(v.Relays, longRelay(s))
	}
	return v, relays, r.Done()
}

// check holds the rules that are the same for the one who signs and the one who reads;
// relays are as they are written.
func (v *Invite) check(relays []string) error {
	if s := v.Expires.Unix(); s < 0 || s > latestInviteTime {
		return fmt.Errorf("%w: time %d", wire.ErrMalformed, s)
	}
	if len(v.Name) > MaxInviteName || !textOK([]byte(v.Name)) {
		return fmt.Errorf("%w: name %.40q", wire.ErrMalformed, v.Name)
	}
	if len(v.PeerID) > maxInvitePeerID || !textOK([]byte(v.PeerID)) {
		return fmt.Errorf("%w: peer id %.40q", wire.ErrMalformed, v.PeerID)
	}
	if (v.PeerID == "") != (len(v.Addresses) == 0) {
		return fmt.Errorf("%w: peer id and addresses go together", wire.ErrMalformed)
	}
	for i, s := range relays {
		if shortRelay(longRelay(s)) != s {
			return fmt.Errorf("%w: relay %.40q has a shorter form", wire.ErrMalformed, s)
		}
		if i > 0 && s == relays[0] {
			return fmt.Errorf("%w: relay %.40q twice", wire.ErrMalformed, s)
		}
	}
	if err := checkList("relay", relays, MaxInviteRelays, maxRelayURL); err != nil {
		return err
	}
	if err := checkList("address", v.Addresses, MaxInviteAddresses, maxAddress); err != nil {
		return err
	}
	return checkList("intent", v.Intents, MaxInviteIntents, maxInviteIntent)
}

// shortRelay leaves out of a relay's URL what nearly all have: wss:// in front, and the
// usual path behind the host (invite.md §2.1).
func shortRelay(url string) string {
	scheme, rest, ok := strings.Cut(url, "://")
	if !ok {
		return url
	}
	if host, found := strings.CutSuffix(rest, usualRelayPath); found && !strings.ContainsAny(host, "/?#") {
		rest = host
	}
	if scheme+"://" == usualRelayScheme && !strings.Contains(rest, "://") {
		return rest
	}
	return scheme + "://" + rest
}

func longRelay(s string) string {
	if !strings.Contains(s, "://") {
		return usualRelayScheme + s
	}
	return s
}
