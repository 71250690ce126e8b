package content

import (
	"fmt"
	"strings"
	"time"

	"amesh/internal/wire"
)

// Attempt names one try to open a direct path. Who makes the offer draws it at random.
type Attempt [16]byte

// Signal is what two nodes say to each other to open a direct path by ICE: *ICEOffer or
// *ICEAnswer (session.md §7.6).
type Signal interface {
	Content
	// Of is the attempt that the signal belongs to.
	Of() Attempt
}

// ICEDescription is one side of ICE: how its checks are known by, and where it may be
// reached. All of it is a stranger's until a connection proved the peer id.
type ICEDescription struct {
	PeerID     string   // libp2p peer id of the node, in text
	Ufrag      string   // 4 to 64 ice-chars
	Password   string   // 22 to 64 ice-chars
	Candidates []string // at most 16, each as ICE writes them in SDP, at most 200 bytes
}

// ICEOffer begins an attempt. Who offers is the controlling side.
type ICEOffer struct {
	Attempt Attempt
	Stamp   time.Time // whole milliseconds
	ICEDescription
}

// AnswerCode is what an answer says to an offer.
type AnswerCode uint8

// The codes; only Agreed comes with a description.
const (
	Agreed      AnswerCode = 0 // the checks begin
	PunchBusy   AnswerCode = 1 // an attempt with this peer runs, or too many in all; later
	PunchOff    AnswerCode = 2 // the owner wants none
	PunchUnable AnswerCode = 3 // nothing to check with: no network, no UDP
	PunchGlare  AnswerCode = 4 // the answerer has offered itself, and its offer stands
	PunchOpen   AnswerCode = 5 // there is a direct path already
)

// String is the reason for a no in words, for the owner of whoever offered.
func (c AnswerCode) String() string {
	switch c {
	case Agreed:
		return "agreed"
	case PunchBusy:
		return "it is busy with other attempts"
	case PunchOff:
		return "its owner wants no punching"
	case PunchUnable:
		return "it has no network, or no UDP"
	case PunchGlare:
		return "it has made an offer itself"
	case PunchOpen:
		return "it has a direct path already"
	}
	return fmt.Sprintf("code %d", uint8(c))
}

// ICEAnswer takes an offer, or says no.
type ICEAnswer struct {
	Attempt Attempt
	Stamp   time.Time // whole milliseconds
	Code    AnswerCode
	ICEDescription
}

// Type is TypeICEOffer.
func (*ICEOffer) Type() Type { return TypeICEOffer }

// Type is TypeICEAnswer.
func (*ICEAnswer) Type() Type { return TypeICEAnswer }

// Of implements Signal.
func (c *ICEOffer) Of() Attempt { return c.Attempt }

// Of implements Signal.
func (c *ICEAnswer) Of() Attempt { return c.Attempt }

// Encode implements Content.
func (c *ICEOffer) Encode() ([]byte, error) { return encode(c, 1024) }

// Encode implements Content.
func (c *ICEAnswer) Encode() ([]byte, error) { return encode(c, 1024) }

func (c *ICEOffer) check() error {
	if err := checkTime("stamp", c.Stamp); err != nil {
		return err
	}
	return c.ICEDescription.check()
}

func (c *ICEAnswer) check() error {
	if err := checkTime("stamp", c.Stamp); err != nil {
		return err
	}
	switch {
	case c.Code > PunchOpen:
		return malformed("answer %d", c.Code)
	case c.Code == Agreed:
		return c.ICEDescription.check()
	case c.PeerID != "" || c.Ufrag != "" || c.Password != "" || len(c.Candidates) > 0:
		return malformed("a no with a description")
	}
	return nil
}

func (d *ICEDescription) check() error {
	if err := checkList("peer id", []string{d.PeerID}, 1, MaxPeerID); err != nil {
		return err
	}
	if err := checkICEChars("ufrag", d.Ufrag, minUfrag, MaxUfrag); err != nil {
		return err
	}
	if err := checkICEChars("password", d.Password, minICEPassword, MaxICEPassword); err != nil {
		return err
	}
	return checkList("candidate", d.Candidates, MaxCandidates, MaxCandidate)
}

// checkICEChars holds for the two names of RFC 8839 §5.4. Its error does not show them.
func checkICEChars(what, s string, least, most int) error {
	if len(s) < least || len(s) > most || strings.ContainsFunc(s, notICEChar) {
		return malformed("%s of %d bytes (letters, digits, + and /; %d to %d)", what, len(s), least, most)
	}
	return nil
}

func notICEChar(r rune) bool {
	return (r < 'a' || r > 'z') && (r < 'A' || r > 'Z') && (r < '0' || r > '9') && r != '+' && r != '/'
}

func (c *ICEOffer) write(w *wire.Writer) {
	w.Fixed(c.Attempt[:])
	w.I64(c.Stamp.UnixMilli())
	c.ICEDescription.write(w)
}

func (c *ICEOffer) read(r *wire.Reader) {
	r.Into(c.Attempt[:])
	c.Stamp = readMillis(r)
	c.ICEDescription.read(r)
}

func (c *ICEAnswer) write(w *wire.Writer) {
	w.Fixed(c.Attempt[:])
	w.I64(c.Stamp.UnixMilli())
	w.U8(uint8(c.Code))
	c.ICEDescription.write(w)
}

func (c *ICEAnswer) read(r *wire.Reader) {
	r.Into(c.Attempt[:])
	c.Stamp = readMillis(r)
	c.Code = AnswerCode(r.U8())
	c.ICEDescription.read(r)
}

func (d *ICEDescription) write(w *wire.Writer) {
	w.LP8([]byte(d.PeerID))
	w.LP8([]byte(d.Ufrag))
	w.LP8([]byte(d.Password))
	w.List(d.Candidates)
}

func (d *ICEDescription) read(r *wire.Reader) {
	d.PeerID = string(r.LP8(MaxPeerID))
	d.Ufrag = string(r.LP8(MaxUfrag))
	d.Password = string(r.LP8(MaxICEPassword))
	d.Candidates = r.List(MaxCandidates, MaxCandidate)
}
