package content

import (
	"bytes"
	"encoding/hex"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/uuid"

	"amesh/ratchet"
)

var (
	noon     = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	id1      = uuid.UUID{0: 1, 15: 0xAA}
	id2      = uuid.UUID{0: 2, 15: 0xBB}
	envelope = ratchet.ID{0: 7, 15: 8}
)

const (
	zeros32 = "0000000000000000000000000000000000000000000000000000000000000000"
	hash32  = "4100000000000000000000000000000000000000000000000000000000000000"
	limits  = "0000000a" + "0000000000000400" + "00000e10"
	noonS   = "0000000069a42a40"
	noonMS  = "0000019ca9450a00"
)

func description() Description {
	return Description{
		ID: id1, Sequence: 3, Created: noon, Deadline: noon.Add(time.Hour), Intent: "travel/flights",
		Thread: "t1", ReplyTo: id2, ContentType: "text/plain", FileName: "a.txt",
	}
}

// Every content once as a struct and once as bytes.
var samples = map[string]struct {
	value Content
	hex   string
}{
	"request": {
		&Request{
			Nonce: [32]byte{0x41}, Intent: "travel", SessionType: Conversation, Mode: Private,
			Limits: Limits{10, 1024, 3600}, Features: 1, Prev: [32]byte{}, FirstSeq: 9,
			Resume: []ratchet.ID{envelope}, TierCertificate: []byte("cert"), Invite: []byte("inv"),
		},
		"01" + hash32 + "0674726176656c" + "02" + "01" + limits + "00000001" + zeros32 + "0000000000000009" +
			"01" + "07000000000000000000000000000008" + "0004" + "63657274" + "03" + "696e76",
	},
	"accept": {
		&Accept{
			Knock: [32]byte{0x41}, SessionType: RequestResponse, Mode: Private, Limits: Limits{10, 1024, 3600},
			FirstSeq: 1, GrantExpires: noon, Intents: []string{"a", "b/c"},
		},
		"02" + hash32 + "01" + "01" + limits + "00000000" + "0000000000000001" + noonS + "02" + "0161" + "03622f63",
	},
	"reject":  {&Reject{Knock: [32]byte{0x41}, Code: Busy, RetryAfter: 60}, "03" + hash32 + "02" + "0000003c"},
	"pending": {&Pending{Knock: [32]byte{0x41}, Until: noon}, "04" + hash32 + noonS},
	"message": {
		&Message{Description: description(), Body: []byte("hi")},
		"10" + "005c" + descriptionHex + "6869",
	},
	"receipts": {
		&Receipts{
			Envelopes: []ratchet.ID{envelope},
			Messages:  []Receipt{{ID: id1, State: Refused, Reason: ReasonParts, At: noon, Text: "no"}},
		},
		"12" + "0001" + "07000000000000000000000000000008" + "0001" + "010000000000000000000000000000aa" + "05" + "03" + noonMS + "026e6f",
	},
	"skip":  {&Skip{From: 2, To: 5}, "13" + "0000000000000002" + "0000000000000005"},
	"close": {&Close{Reason: CloseShutdown, LastSequence: 7}, "14" + "05" + "0000000000000007"},
	"paths": {
		&Paths{Stamp: noon, PeerIDs: []string{"12D3"}, Addresses: []string{"/ip4/1.2.3.4/tcp/1"}, Relays: []string{"ws://r"}},
		"15" + noonMS + "01" + "0431324433" + "01" + "122f6970342f312e322e332e342f7463702f31" + "01" + "0677733a2f2f72",
	},
	"revocation": {&Revocation{Statement: bytes.Repeat([]byte{7}, 128)}, "18" + strings.Repeat("07", 128)},
	"unknown":    {&Unknown{Kind: 0x99, Fields: []byte{1, 2}}, "990102"},
	"offer": {
		&ICEOffer{Attempt: Attempt{0: 9, 15: 0xCC}, Stamp: noon, ICEDescription: ICEDescription{
			PeerID: "12D3", Ufrag: "uf+/", Password: "0123456789abcdefABCDEF", Candidates: []string{candidate},
		}},
		"16" + "090000000000000000000000000000cc" + noonMS + descriptionICE + "01" + "2f" + hex.EncodeToString([]byte(candidate)),
	},
	"answer, yes": {
		&ICEAnswer{Attempt: Attempt{0: 9, 15: 0xCC}, Stamp: noon, ICEDescription: ICEDescription{
			PeerID: "12D3", Ufrag: "uf+/", Password: "0123456789abcdefABCDEF",
		}},
		"17" + "090000000000000000000000000000cc" + noonMS + "00" + descriptionICE + "00",
	},
	"answer, glare": {
		&ICEAnswer{Attempt: Attempt{0: 9, 15: 0xCC}, Stamp: noon, Code: PunchGlare},
		"17" + "090000000000000000000000000000cc" + noonMS + "04" + "00" + "00" + "00" + "00",
	},
	"echo":       {&Echo{Nonce{1, 15: 2}}, "19" + "01000000000000000000000000000002"},
	"echo reply": {&EchoReply{Nonce{1, 15: 2}}, "1a" + "01000000000000000000000000000002"},
}

const candidate = "1 1 udp 2130706431 192.0.2.1 4242 typ host ufra"

const descriptionICE = "0431324433" + "0475662b2f" + "16" + "30313233343536373839616263646566414243444546"

const descriptionHex = "010000000000000000000000000000aa" + "0000000000000003" + noonMS + "0000019ca97bf880" +
	"0e" + "74726176656c2f666c6967687473" + "02" + "7431" + "020000000000000000000000000000bb" +
	"0a" + "746578742f706c61696e" + "05" + "612e747874" + "00"

func TestBytes(t *testing.T) {
	for name, c := range samples {
		raw, err := c.value.Encode()
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		if got := hex.EncodeToString(raw); got != c.hex {
			t.Errorf("%s:\n got %s\nwant %s", name, got, c.hex)
		}
		back, err := Parse(raw)
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		if diff := cmp.Diff(c.value, back); diff != "" {
			t.Errorf("%s: -want +got:\n%s", name, diff)
		}
	}
}

func TestCutAndStretched(t *testing.T) {
	for name, c := range samples {
		raw, err := c.value.Encode()
		if err != nil {
			t.Fatal(err)
		}
		if c.value.Type() == TypeMessage {
			raw = raw[:len(raw)-2] // the body is what is left
		}
		for n := range len(raw) {
			if got, err := Parse(raw[:n]); err == nil && !open(got) {
				t.Errorf("%s cut to %d bytes: parsed %+v", name, n, got)
			}
		}
		if got, err := Parse(append(raw, 0)); err == nil && !open(got) {
			t.Errorf("%s with a byte more: parsed %+v", name, got)
		}
	}
	if _, err := Parse(nil); !errors.Is(err, ErrMalformed) {
		t.Errorf("empty: %v", err)
	}
	if _, err := Parse(make([]byte, ratchet.MaxPlaintext+1)); !errors.Is(err, ErrMalformed) {
		t.Errorf("too long: %v", err)
	}
}

// open contents end where the plaintext does.
func open(c Content) bool {
	_, unknown := c.(*Unknown)
	return c.Type() == TypeMessage || unknown
}

// ruled is a content that keeps or breaks one rule of its layout.
type ruled struct {
	value Content
	ok    bool
}

func rules() map[string]ruled {
	request := func(change func(*Request)) Content {
		r := &Request{Intent: "a", SessionType: Stream, Mode: Private, FirstSeq: 1}
		change(r)
		return r
	}
	accept := func(change func(*Accept)) Content {
		a := &Accept{SessionType: Stream, Mode: Private, FirstSeq: 1, GrantExpires: noon}
		change(a)
		return a
	}
	message := func(change func(*Message)) Content {
		m := &Message{Description: description()}
		change(m)
		return m
	}
	receipt := func(r Receipt) Content { return &Receipts{Messages: []Receipt{r}} }
	paths := func(p Paths) Content { p.Stamp = noon; return &p }
	offer := func(change func(*ICEOffer)) Content {
		o := &ICEOffer{Stamp: noon, ICEDescription: iceDescription()}
		change(o)
		return o
	}
	answer := func(change func(*ICEAnswer)) Content {
		a := &ICEAnswer{Stamp: noon, ICEDescription: iceDescription()}
		change(a)
		return a
	}
	no := func(change func(*ICEAnswer)) Content {
		a := &ICEAnswer{Stamp: noon, Code: PunchBusy}
		change(a)
		return a
	}
	many := func(n int) []string { return strings.Split(strings.Repeat("x,", n)+"x", ",")[:n] }
	return map[string]ruled{
		"request without intent":        {request(func(r *Request) { r.Intent = "" }), false},
		"request in upper case":         {request(func(r *Request) { r.Intent = "Travel" }), false},
		"request with empty part":       {request(func(r *Request) { r.Intent = "a//b" }), false},
		"request with slash at the end": {request(func(r *Request) { r.Intent = "a/" }), false},
		"request of 128 bytes":          {request(func(r *Request) { r.Intent = strings.Repeat("a", 128) }), true},
		"request of 129 bytes":          {request(func(r *Request) { r.Intent = strings.Repeat("a", 129) }), false},
		"request of no session type":    {request(func(r *Request) { r.SessionType = 0 }), false},
		"request of a fourth type":      {request(func(r *Request) { r.SessionType = 4 }), false},
		"request of mode 3":             {request(func(r *Request) { r.Mode = 3 }), false},
		"request accountable":           {request(func(r *Request) { r.Mode = Accountable }), true},
		"request from sequence 0":       {request(func(r *Request) { r.FirstSeq = 0 }), false},
		"request with 16 resume ids":    {request(func(r *Request) { r.Resume = make([]ratchet.ID, 16) }), true},
		"request with 17 resume ids":    {request(func(r *Request) { r.Resume = make([]ratchet.ID, 17) }), false},
		"request with a huge tier":      {request(func(r *Request) { r.TierCertificate = make([]byte, 1025) }), false},
		"request with a huge invite":    {request(func(r *Request) { r.Invite = make([]byte, 65) }), false},
		"accept of everything":          {accept(func(*Accept) {}), true},
		"accept without expiry":         {accept(func(a *Accept) { a.GrantExpires = time.Time{} }), false},
		"accept until the year 10000":   {accept(func(a *Accept) { a.GrantExpires = time.Unix(latest+1, 0) }), false},
		"accept from sequence 0":        {accept(func(a *Accept) { a.FirstSeq = 0 }), false},
		"accept of no session type":     {accept(func(a *Accept) { a.SessionType = 0 }), false},
		"accept of mode 3":              {accept(func(a *Accept) { a.Mode = 3 }), false},
		"pending until the year 10000":  {&Pending{Until: time.Unix(latest+1, 0)}, false},
		"accept with a bad intent":      {accept(func(a *Accept) { a.Intents = []string{"A"} }), false},
		"accept with 255 intents":       {accept(func(a *Accept) { a.Intents = many(255) }), true},
		"accept with 256 intents":       {accept(func(a *Accept) { a.Intents = many(256) }), false},
		"reject without code":           {&Reject{}, false},
		"reject with code 4":            {&Reject{Code: 4}, false},
		"message without id":            {message(func(m *Message) { m.ID = uuid.Nil }), false},
		"message with sequence 0":       {message(func(m *Message) { m.Sequence = 0 }), false},
		"message without intent":        {message(func(m *Message) { m.Intent = "" }), false},
		"message due when made":         {message(func(m *Message) { m.Deadline = m.Created }), false},
		"message due in 72 h":           {message(func(m *Message) { m.Deadline = m.Created.Add(MaxDeadline) }), true},
		"message due a ms later":        {message(func(m *Message) { m.Deadline = m.Created.Add(MaxDeadline + time.Millisecond) }), false},
		"message due in the year 10000": {message(func(m *Message) { m.Created, m.Deadline = time.Unix(latest, 0), time.Unix(latest+1, 0) }), false},
		"message of before 1970":        {message(func(m *Message) { m.Created, m.Deadline = time.UnixMilli(-1), time.UnixMilli(1) }), false},
		"message signed":                {message(func(m *Message) { m.Signature = make([]byte, 64) }), true},
		"message half signed":           {message(func(m *Message) { m.Signature = make([]byte, 32) }), false},
		"thread with escape":            {message(func(m *Message) { m.Thread = "\x1b[2J" }), false},
		"thread with delete":            {message(func(m *Message) { m.Thread = "a\x7f" }), false},
		"thread of broken text":         {message(func(m *Message) { m.Thread = "\xff" }), false},
		"thread of 65 bytes":            {message(func(m *Message) { m.Thread = strings.Repeat("x", 65) }), false},
		"type of 129 bytes":             {message(func(m *Message) { m.ContentType = strings.Repeat("x", 129) }), false},
		"file up and away":              {message(func(m *Message) { m.FileName = "../x" }), false},
		"file dot dot":                  {message(func(m *Message) { m.FileName = ".." }), false},
		"file dot":                      {message(func(m *Message) { m.FileName = "." }), false},
		"file by backslash":             {message(func(m *Message) { m.FileName = `a\b` }), false},
		"file with NUL":                 {message(func(m *Message) { m.FileName = "a\x00b" }), false},
		"file of three dots":            {message(func(m *Message) { m.FileName = "..." }), true},
		"file of 255 bytes":             {message(func(m *Message) { m.FileName = strings.Repeat("ä", 127) + "x" }), true},
		"file of 256 bytes":             {message(func(m *Message) { m.FileName = strings.Repeat("ä", 128) }), false},
		"body at its limit":             {message(func(m *Message) { m.Body = make([]byte, SliceSize) }), true},
		"body over its limit":           {message(func(m *Message) { m.Body = make([]byte, SliceSize+1) }), false},
		"receipts of nothing":           {&Receipts{}, true},
		"delivered with reason":         {receipt(Receipt{State: Delivered, Reason: ReasonAgent, At: noon}), false},
		"leased with reason":            {receipt(Receipt{State: Leased, Reason: ReasonAgent, At: noon}), false},
		"handled with reason":           {receipt(Receipt{State: Handled, Reason: ReasonAgent, At: noon}), false},
		"refused without reason":        {receipt(Receipt{State: Refused, At: noon}), false},
		"receipt of the year 10000":     {receipt(Receipt{State: Handled, At: time.Unix(latest+1, 0)}), false},
		"failed without reason":         {receipt(Receipt{State: Failed, At: noon}), false},
		"failed by the agent":           {receipt(Receipt{State: Failed, Reason: ReasonAgent, At: noon}), true},
		"refused for its signature":     {receipt(Receipt{State: Refused, Reason: ReasonSignature, At: noon}), true},
		"refused for a ninth reason":    {receipt(Receipt{State: Refused, Reason: 9, At: noon}), false},
		"no state":                      {receipt(Receipt{At: noon}), false},
		"sixth state":                   {receipt(Receipt{State: 6, Reason: 1, At: noon}), false},
		"receipt with line break":       {receipt(Receipt{State: Handled, At: noon, Text: "a\nb"}), false},
		"receipt of 201 bytes":          {receipt(Receipt{State: Handled, At: noon, Text: strings.Repeat("x", 201)}), false},
		"skip backwards":                {&Skip{From: 5, To: 4}, false},
		"skip of one":                   {&Skip{From: 5, To: 5}, true},
		"skip from 0":                   {&Skip{From: 0, To: 4}, false},
		"close without reason":          {&Close{}, false},
		"close with reason 6":           {&Close{Reason: 6}, false},
		"close before any message":      {&Close{Reason: CloseDone}, true},
		"paths to nowhere":              {paths(Paths{}), true},
		"paths with nine peers":         {paths(Paths{PeerIDs: many(9)}), false},
		"paths with 17 addresses":       {paths(Paths{Addresses: many(17)}), false},
		"paths with nine relays":        {paths(Paths{Relays: many(9)}), false},
		"paths with a long address":     {paths(Paths{Addresses: []string{strings.Repeat("x", 101)}}), false},
		"paths with an empty address":   {paths(Paths{Addresses: []string{""}}), false},
		"paths without stamp":           {&Paths{}, false},
		"revocation with successor":     {&Revocation{Statement: make([]byte, 224)}, true},
		"revocation of nothing":         {&Revocation{}, false},
		"revocation of 127 bytes":       {&Revocation{Statement: make([]byte, 127)}, false},
		"revocation of 192 bytes":       {&Revocation{Statement: make([]byte, 192)}, false},
		"paths of the year 10000":       {&Paths{Stamp: time.Unix(latest+1, 0)}, false},
		"offer without stamp":           {offer(func(o *ICEOffer) { o.Stamp = time.Time{} }), false},
		"offer without peer id":         {offer(func(o *ICEOffer) { o.PeerID = "" }), false},
		"offer with a broken peer id":   {offer(func(o *ICEOffer) { o.PeerID = "a\n" }), false},
		"offer with a ufrag of 3":       {offer(func(o *ICEOffer) { o.Ufrag = "abc" }), false},
		"offer with a ufrag of 64":      {offer(func(o *ICEOffer) { o.Ufrag = strings.Repeat("u", 64) }), true},
		"offer with a ufrag of 65":      {offer(func(o *ICEOffer) { o.Ufrag = strings.Repeat("u", 65) }), false},
		"offer with a colon in ufrag":   {offer(func(o *ICEOffer) { o.Ufrag = "ab:cd" }), false},
		"offer with a password of 21":   {offer(func(o *ICEOffer) { o.Password = strings.Repeat("p", 21) }), false},
		"offer with a password of 64":   {offer(func(o *ICEOffer) { o.Password = strings.Repeat("p", 64) }), true},
		"offer with a password of 65":   {offer(func(o *ICEOffer) { o.Password = strings.Repeat("p", 65) }), false},
		"offer with a space":            {offer(func(o *ICEOffer) { o.Password = strings.Repeat(" ", 22) }), false},
		"offer without candidates":      {offer(func(o *ICEOffer) { o.Candidates = nil }), true},
		"offer with 16 candidates":      {offer(func(o *ICEOffer) { o.Candidates = many(16) }), true},
		"offer with 17 candidates":      {offer(func(o *ICEOffer) { o.Candidates = many(17) }), false},
		"offer with a candidate of 200": {offer(func(o *ICEOffer) { o.Candidates = []string{strings.Repeat("c", 200)} }), true},
		"offer with a candidate of 201": {offer(func(o *ICEOffer) { o.Candidates = []string{strings.Repeat("c", 201)} }), false},
		"offer with an empty candidate": {offer(func(o *ICEOffer) { o.Candidates = []string{""} }), false},
		"yes with candidates":           {answer(func(*ICEAnswer) {}), true},
		"yes of nobody":                 {answer(func(a *ICEAnswer) { a.PeerID = "" }), false},
		"yes without description":       {answer(func(a *ICEAnswer) { a.ICEDescription = ICEDescription{} }), false},
		"no, busy":                      {no(func(*ICEAnswer) {}), true},
		"no, open":                      {no(func(a *ICEAnswer) { a.Code = PunchOpen }), true},
		"no for a sixth reason":         {no(func(a *ICEAnswer) { a.Code = 6 }), false},
		"no with a peer id":             {no(func(a *ICEAnswer) { a.PeerID = "12D3" }), false},
		"no with a ufrag":               {no(func(a *ICEAnswer) { a.Ufrag = "abcd" }), false},
		"no with a password":            {no(func(a *ICEAnswer) { a.Password = strings.Repeat("p", 22) }), false},
		"no with a candidate":           {no(func(a *ICEAnswer) { a.Candidates = many(1) }), false},
		"unknown that is known":         {&Unknown{Kind: TypeSkip}, false},
	}
}

func iceDescription() ICEDescription {
	return ICEDescription{PeerID: "12D3", Ufrag: "abcd", Password: strings.Repeat("p", 22), Candidates: []string{candidate}}
}

func TestRules(t *testing.T) {
	for name, c := range rules() {
		raw, err := c.value.Encode()
		if (err == nil) != c.ok || err != nil && !errors.Is(err, ErrMalformed) {
			t.Errorf("%s: %v", name, err)
		}
		if c.ok {
			if _, err := Parse(raw); err != nil {
				t.Errorf("%s: written, but not read: %v", name, err)
			}
		}
	}
}

func TestStricterLimits(t *testing.T) {
	none, some, less := Limits{}, Limits{10, 1000, 60}, Limits{10, 999, 0}
	for _, c := range []struct {
		name   string
		l, m   Limits
		min    Limits
		within bool // l within m
	}{
		{"none and none", none, none, none, true},
		{"some and none", some, none, some, true},
		{"none and some", none, some, some, false},
		{"some and some", some, some, some, true},
		{"fewer bytes, no time", less, some, Limits{10, 999, 60}, false},
		{"stricter in all", Limits{9, 1, 59}, some, Limits{9, 1, 59}, true},
		{"more messages", Limits{11, 1, 59}, some, Limits{10, 1, 59}, false},
	} {
		if got := c.l.Min(c.m); got != c.min || c.m.Min(c.l) != c.min {
			t.Errorf("%s: stricter is %+v, want %+v", c.name, got, c.min)
		}
		if got := c.l.Within(c.m); got != c.within {
			t.Errorf("%s: within %t, want %t", c.name, got, c.within)
		}
	}
}

func TestNamesOfTypesAndModes(t *testing.T) {
	for want, name := range map[SessionType]string{RequestResponse: "request_response", Conversation: "conversation", Stream: "stream"} {
		if got, err := ParseSessionType(name); got != want || err != nil || want.String() != name {
			t.Errorf("%s: read as %d (%v), written as %s", name, got, err, want)
		}
	}
	for want, name := range map[Mode]string{Private: "private", Accountable: "accountable"} {
		if got, err := ParseMode(name); got != want || err != nil || want.String() != name {
			t.Errorf("%s: read as %d (%v), written as %s", name, got, err, want)
		}
	}
	for _, name := range []string{"", "Private", "(7)"} {
		if _, err := ParseMode(name); !errors.Is(err, ErrMalformed) {
			t.Errorf("mode %q: %v", name, err)
		}
		if _, err := ParseSessionType(name); !errors.Is(err, ErrMalformed) {
			t.Errorf("type %q: %v", name, err)
		}
	}
	if got := SessionType(7).String(); got != "(7)" {
		t.Errorf("type 7 is %s", got)
	}
}

// What is signed in accountable mode, byte by byte (session.md §9.5).
func TestStatement(t *testing.T) {
	want := hash32 + "0000000000000102" + strings.Repeat("42", 32)
	got := hex.EncodeToString(Statement([32]byte{0x41}, 0x0102, [32]byte(bytes.Repeat([]byte{0x42}, 32))))
	if got != want {
		t.Errorf("got %s\nwant %s", got, want)
	}
}

// The reader has the rules too: here is what no Encode of ours would write.
func readerRules() map[string]string {
	swap := func(sample, old, with string) string {
		return strings.Replace(samples[sample].hex, old, with, 1)
	}
	return map[string]string{
		"intent in upper case":   swap("request", "747261", "547261"),
		"17 resume ids":          swap("request", "01"+"0700000000", "11"+"0700000000"),
		"reject code 0":          swap("reject", "02"+"0000003c", "00"+"0000003c"),
		"time before 1970":       swap("pending", noonS, "ff"+noonS[2:]),
		"time after 9999":        swap("pending", noonS, "7f"+noonS[2:]),
		"line break in text":     swap("receipts", "6e6f", "6e0a"),
		"file name dot slash":    swap("message", "612e747874", "2e2f747874"),
		"description too short":  swap("message", "005c", "005b"),
		"description too long":   swap("message", "005c", "005d"),
		"many receipts promised": "12" + "ffff",
		"17 candidates":          swap("offer", "01"+"2f", "11"+"2f"),
		"ufrag of three":         swap("offer", "0475662b2f", "0375662b"),
		"no with candidates":     swap("answer, glare", "00"+"00"+"00"+"00", "00"+"00"+"00"+"010161"),
		"stamp before 1970":      swap("offer", noonMS, "ff"+noonMS[2:]),
		"nine peer ids":          swap("paths", noonMS+"01", noonMS+"09"),
	}
}

func TestReaderHasTheRules(t *testing.T) {
	for name, text := range readerRules() {
		raw, err := hex.DecodeString(text)
		if err != nil {
			t.Fatal(err)
		}
		if got, err := Parse(raw); !errors.Is(err, ErrMalformed) {
			t.Errorf("%s: got %+v, %v, want ErrMalformed", name, got, err)
		}
	}
}

func TestSplitAndJoin(t *testing.T) {
	for name, c := range map[string]struct{ size, parts int }{
		"nothing":             {0, 1},
		"one message exactly": {SliceSize, 1},
		"one byte more":       {SliceSize + 1, 2},
		"two slices exactly":  {2 * SliceSize, 2},
		"everything":          {MaxBody, MaxParts},
	} {
		body := bytes.Repeat([]byte("0123456789abcdef!"), c.size/17+1)[:c.size]
		contents, err := Split(description(), body)
		if err != nil || len(contents) != c.parts {
			t.Errorf("%s: %d parts, %v", name, len(contents), err)
			continue
		}
		var slices [][]byte
		for _, x := range contents {
			raw, err := x.Encode()
			if err != nil {
				t.Fatalf("%s: %v", name, err)
			}
			back, err := Parse(raw)
			if err != nil {
				t.Fatalf("%s: %v", name, err)
			}
			switch back := back.(type) {
			case *Message:
				if !bytes.Equal(back.Body, body) {
					t.Errorf("%s: another body", name)
				}
			case *Part:
				slices = append(slices, back.Slice)
				if len(raw)-len(back.Slice) > 1360 {
					t.Errorf("%s: %d bytes around a slice", name, len(raw)-len(back.Slice))
				}
			}
		}
		if len(slices) == 0 {
			continue
		}
		p := contents[0].(*Part)
		if got, err := Join(slices, p.Total, p.Body); err != nil || !bytes.Equal(got, body) {
			t.Errorf("%s: join: %v", name, err)
		}
		slices[0][0] ^= 1
		if _, err := Join(slices, p.Total, p.Body); !errors.Is(err, ErrMalformed) {
			t.Errorf("%s: joined a wrong body: %v", name, err)
		}
		if _, err := Join(slices[1:], p.Total, p.Body); !errors.Is(err, ErrMalformed) {
			t.Errorf("%s: joined too few: %v", name, err)
		}
	}
	if _, err := Split(description(), make([]byte, MaxBody+1)); !errors.Is(err, ErrMalformed) {
		t.Errorf("too long: %v", err)
	}
	if _, err := Split(Description{}, nil); !errors.Is(err, ErrMalformed) {
		t.Errorf("no description: %v", err)
	}
}

func TestPartRules(t *testing.T) {
	good := Part{Description: description(), Index: 1, Count: 2, Total: SliceSize + 10, Slice: make([]byte, 10)}
	if _, err := good.Encode(); err != nil {
		t.Fatal(err)
	}
	for name, c := range badParts() {
		if _, err := c.Encode(); !errors.Is(err, ErrMalformed) {
			t.Errorf("%s: got %v, want ErrMalformed", name, err)
		}
	}
}

func TestContentHash(t *testing.T) {
	base := Hash(description(), []byte("body"))
	if got := hex.EncodeToString(base[:8]); got != "22e697c4dddae8cc" {
		t.Errorf("hash begins %s", got)
	}
	for name, c := range map[string]struct {
		change func(d *Description)
		same   bool
	}{
		"sequence":     {func(d *Description) { d.Sequence++ }, true},
		"signature":    {func(d *Description) { d.Signature = make([]byte, 64) }, true},
		"id":           {func(d *Description) { d.ID[3]++ }, false},
		"created":      {func(d *Description) { d.Created = d.Created.Add(time.Millisecond) }, false},
		"deadline":     {func(d *Description) { d.Deadline = d.Deadline.Add(time.Millisecond) }, false},
		"intent":       {func(d *Description) { d.Intent += "x" }, false},
		"thread":       {func(d *Description) { d.Thread = "" }, false},
		"reply to":     {func(d *Description) { d.ReplyTo = uuid.Nil }, false},
		"content type": {func(d *Description) { d.ContentType += "x" }, false},
		"file name":    {func(d *Description) { d.FileName += "x" }, false},
		"field border": {func(d *Description) { d.Intent, d.Thread = d.Intent+"t", "1" }, false},
	} {
		d := description()
		c.change(&d)
		if (Hash(d, []byte("body")) == base) != c.same {
			t.Errorf("%s: same hash is not %v", name, c.same)
		}
	}
	if Hash(description(), []byte("bodY")) == base {
		t.Error("body does not count")
	}
}

func TestClean(t *testing.T) {
	for in, want := range map[string]string{
		"plain": "plain", "a\nb\x1b[2J": "a b [2J", "a\xffb": "a�b", "ääääää": "ääää", "12345678ä": "12345678", "": "",
	} {
		got := Clean(in, 9)
		if got != want {
			t.Errorf("%q: got %q, want %q", in, got, want)
		}
		if err := checkText("x", got, 9); err != nil {
			t.Errorf("%q: %v", in, err)
		}
	}
}

func FuzzParse(f *testing.F) {
	text, err := os.ReadFile(filepath.Join(vectorFolder, "contents.json"))
	if err != nil {
		f.Fatal(err)
	}
	var stored struct{ Vectors []contentVector }
	if err := json.Unmarshal(text, &stored); err != nil {
		f.Fatal(err)
	}
	for _, v := range stored.Vectors {
		f.Add(v.raw())
	}
	f.Fuzz(func(t *testing.T, raw []byte) {
		c, err := Parse(raw)
		if err != nil {
			return
		}
		out, err := c.Encode()
		if err != nil || !bytes.Equal(raw, out) {
			t.Errorf("%x reads as %+v, which writes as %x, %v", raw, c, out, err)
		}
	})
}

// What an owner reads is no number.
func TestReasonsForANoAreWords(t *testing.T) {
	said := make(map[string]bool)
	for c := Agreed; c <= PunchOpen; c++ {
		if s := c.String(); strings.Contains(s, "code") || said[s] {
			t.Errorf("code %d is %q", uint8(c), s)
		}
		said[c.String()] = true
	}
	if s := AnswerCode(9).String(); s != "code 9" {
		t.Error(s)
	}
}
