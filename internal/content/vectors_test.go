package content

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"flag"
	"iter"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/uuid"

	"amesh/internal/wire"
	"amesh/ratchet"
)

// The vectors in docs/protocol/vectors are made from fixed values. After an intended
// change of the protocol they are written anew as the README beside them says.
var update = flag.Bool("update", false, "write this package's files in docs/protocol/vectors anew")

const vectorFolder = "../../docs/protocol/vectors"

type hexBytes []byte

func (h hexBytes) MarshalText() ([]byte, error) { return []byte(hex.EncodeToString(h)), nil }

func (h *hexBytes) UnmarshalText(b []byte) (err error) {
	*h, err = hex.DecodeString(string(b))
	return err
}

// contentVector is a content with what it says, or that it is malformed. Long runs
// of zeros at the end are counted, not written.
type contentVector struct {
	Name      string   `json:"name"`
	Type      uint8    `json:"type"`
	Encoded   hexBytes `json:"encoded"`
	ThenZeros int      `json:"then_zeros,omitempty"`
	Error     string   `json:"error,omitempty"`
	Fields    any      `json:"fields,omitempty"`
}

func (v *contentVector) raw() []byte {
	return append(bytes.Clone(v.Encoded), make([]byte, v.ThenZeros)...)
}

func newVector(name string, raw []byte) contentVector {
	v := contentVector{Name: name, Encoded: raw}
	if len(raw) > 0 {
		v.Type = raw[0]
	}
	if head := bytes.TrimRight(raw, "\x00"); len(raw)-len(head) > 1000 {
		v.Encoded, v.ThenZeros = head, len(raw)-len(head)
	}
	return v
}

type fields map[string]any

// fieldsOf says what a content holds in the words of session.md §7. Numbers of 64
// bits are in digits.
func fieldsOf(c Content) fields {
	u64 := func(n uint64) string { return strconv.FormatUint(n, 10) }
	limits := func(l Limits) fields {
		return fields{"messages": l.Messages, "bytes": u64(l.Bytes), "ttl_s": l.Seconds}
	}
	ids := func(list []ratchet.ID) []string {
		out := []string{}
		for _, id := range list {
			out = append(out, id.String())
		}
		return out
	}
	list := func(l []string) []string { return append([]string{}, l...) }
	switch c := c.(type) {
	case *Request:
		return fields{
			"nonce": hexBytes(c.Nonce[:]), "intent": c.Intent, "session_type": c.SessionType, "mode": c.Mode, "limits": limits(c.Limits),
			"features": c.Features, "prev": hexBytes(c.Prev[:]), "first_seq": u64(c.FirstSeq), "resume": ids(c.Resume),
			"tier_certificate": hexBytes(c.TierCertificate), "invite_secret": hexBytes(c.Invite),
		}
	case *Accept:
		return fields{
			"knock_hash": hexBytes(c.Knock[:]), "session_type": c.SessionType, "mode": c.Mode, "limits": limits(c.Limits), "features": c.Features,
			"first_seq": u64(c.FirstSeq), "grant_expires": c.GrantExpires.Unix(), "intents": list(c.Intents),
		}
	case *Reject:
		return fields{"knock_hash": hexBytes(c.Knock[:]), "code": c.Code, "retry_after_s": c.RetryAfter}
	case *Pending:
		return fields{"knock_hash": hexBytes(c.Knock[:]), "until": c.Until.Unix()}
	case *Message:
		return fields{"description": describe(&c.Description), "body": bodyOf(c.Body)}
	case *Part:
		return fields{
			"index": c.Index, "count": c.Count, "total": c.Total, "body_hash": hexBytes(c.Body[:]),
			"description": describe(&c.Description), "slice": bodyOf(c.Slice),
		}
	case *Receipts:
		messages := []fields{}
		for _, m := range c.Messages {
			messages = append(messages, fields{"message_id": hexBytes(m.ID[:]), "state": m.State, "reason": m.Reason, "at_ms": m.At.UnixMilli(), "text": m.Text})
		}
		return fields{"envelopes": ids(c.Envelopes), "messages": messages}
	case *Skip:
		return fields{"from": u64(c.From), "to": u64(c.To)}
	case *Close:
		return fields{"reason": c.Reason, "last_sequence": u64(c.LastSequence)}
	case *Revocation:
		return fields{"statement": hexBytes(c.Statement)}
	case *Paths:
		return fields{"stamp_ms": c.Stamp.UnixMilli(), "peer_ids": list(c.PeerIDs), "addresses": list(c.Addresses), "relays": list(c.Relays)}
	case *ICEOffer:
		return describeICE(c.ICEDescription, fields{"attempt": hexBytes(c.Attempt[:]), "stamp_ms": c.Stamp.UnixMilli()})
	case *ICEAnswer:
		return describeICE(c.ICEDescription, fields{"attempt": hexBytes(c.Attempt[:]), "stamp_ms": c.Stamp.UnixMilli(), "code": c.Code})
	case *Echo:
		return fields{"nonce": hexBytes(c.Nonce[:])}
	case *EchoReply:
		return fields{"nonce": hexBytes(c.Nonce[:])}
	case *Unknown:
		return fields{"fields": hexBytes(c.Fields)}
	}
	return nil
}

func describe(d *Description) fields {
	return fields{
		"message_id": hexBytes(d.ID[:]), "sequence": strconv.FormatUint(d.Sequence, 10), "created_ms": d.Created.UnixMilli(),
		"deadline_ms": d.Deadline.UnixMilli(), "intent": d.Intent, "thread": d.Thread, "reply_to": hexBytes(d.ReplyTo[:]),
		"content_type": d.ContentType, "file_name": d.FileName, "signature": hexBytes(d.Signature),
	}
}

func describeICE(d ICEDescription, f fields) fields {
	f["peer_id"], f["ufrag"], f["password"], f["candidates"] = d.PeerID, d.Ufrag, d.Password, append([]string{}, d.Candidates...)
	return f
}

// bodyOf is a body, or only its length and hash where it is long.
func bodyOf(b []byte) fields {
	sum := sha256.Sum256(b)
	f := fields{"length": len(b), "hash": hexBytes(sum[:])}
	if len(b) <= 1000 {
		f["bytes"] = hexBytes(b)
	}
	return f
}

// compare holds the vectors that this code makes against the file, and returns what
// the file says, as any reader finds it.
func compare[V any](t *testing.T, name, about string, made []V) []V {
	t.Helper()
	type file struct {
		About   string `json:"about"`
		Made    string `json:"made"`
		Vectors []V    `json:"vectors"`
	}
	raw, err := json.MarshalIndent(file{about, "from fixed values, by go test ./internal/content -update", made}, "", " ")
	if err != nil {
		t.Fatal(err)
	}
	raw = append(raw, '\n')
	path := filepath.Join(vectorFolder, name)
	if *update {
		if err := os.WriteFile(path, raw, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	stored, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(stored), string(raw)); diff != "" {
		t.Errorf("%s is not what the code makes (-file +made):\n%.2000s", name, diff)
	}
	var f file
	if err := json.Unmarshal(stored, &f); err != nil {
		t.Fatal(err)
	}
	return f.Vectors
}

// pairs goes through a table in the order of its names, as a file must.
func pairs[V any](m map[string]V) iter.Seq2[string, V] {
	return func(yield func(string, V) bool) {
		for _, name := range slices.Sorted(maps.Keys(m)) {
			if !yield(name, m[name]) {
				return
			}
		}
	}
}

// unchecked writes a content as somebody would who does not know the rules.
func unchecked(c Content) []byte {
	w := wire.NewWriter(512)
	w.U8(uint8(c.Type()))
	c.write(w)
	return w.Bytes()
}

// noBytes are broken rules that have no bytes: the length before the field is one
// byte long.
var noBytes = []string{"accept with 256 intents", "file of 256 bytes"}

func TestVectorsContents(t *testing.T) {
	var made []contentVector
	valid := func(name string, c Content) {
		raw, err := c.Encode()
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		v := newVector(name, raw)
		v.Fields = fieldsOf(c)
		made = append(made, v)
	}
	malformed := func(name string, raw []byte) {
		v := newVector(name, raw)
		v.Error = ErrMalformed.Error()
		made = append(made, v)
	}
	for name, c := range pairs(samples) {
		valid(name, c.value)
	}
	for name, c := range pairs(moreContents(t)) {
		valid(name, c)
	}
	for name, c := range pairs(rules()) {
		if c.ok {
			valid(name, c.value)
		}
	}
	for name, c := range pairs(rules()) {
		if !c.ok && !slices.Contains(noBytes, name) {
			malformed(name, unchecked(c.value))
		}
	}
	for name, c := range pairs(badParts()) {
		malformed(name, unchecked(c))
	}
	for name, raw := range pairs(badBytes(t)) {
		malformed(name, raw)
	}
	stored := compare(t, "contents.json", "Contents, the plaintexts of ratchet messages (session.md §7): what they say, or that they are malformed.", made)
	for _, v := range stored {
		c, err := Parse(v.raw())
		if v.Error != "" {
			if !errors.Is(err, ErrMalformed) {
				t.Errorf("%s: got %+v, %v, want ErrMalformed", v.Name, c, err)
			}
			continue
		}
		if err != nil {
			t.Errorf("%s: %v", v.Name, err)
			continue
		}
		if diff := cmp.Diff(v.Fields, plain(t, fieldsOf(c))); diff != "" {
			t.Errorf("%s (-file +read):\n%s", v.Name, diff)
		}
		if again, err := c.Encode(); err != nil || !bytes.Equal(again, v.raw()) {
			t.Errorf("%s: written anew it differs, %v", v.Name, err)
		}
	}
}

// plain is what a reader of JSON would see of v.
func plain(t *testing.T, v any) any {
	t.Helper()
	raw, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	var out any
	if err := json.Unmarshal(raw, &out); err != nil {
		t.Fatal(err)
	}
	return out
}

// moreContents are at the ends of what may be.
func moreContents(t *testing.T) map[string]Content {
	t.Helper()
	body := bytes.Repeat([]byte{0}, 2*SliceSize+10)
	parts, err := Split(description(), body)
	if err != nil || len(parts) != 3 {
		t.Fatalf("%d parts, %v", len(parts), err)
	}
	last := time.Unix(latest, 0).UTC()
	return map[string]Content{
		"first of three parts": parts[0],
		"last of three parts":  parts[2],
		"last part, one byte": &Part{
			Description: description(), Index: 1, Count: 2, Total: SliceSize + 1, Body: [32]byte{1}, Slice: []byte{7},
		},
		"part with the longest description": &Part{
			Description: longest(), Index: 1, Count: 2, Total: SliceSize + 1, Body: [32]byte{1}, Slice: []byte{7},
		},
		"message without thread, reply and file": &Message{Description: Description{
			ID: id1, Sequence: 1, Created: noon, Deadline: noon.Add(time.Millisecond), Intent: "a",
		}},
		"message of the last sequence, at the end of time": &Message{Description: Description{
			ID: id2, Sequence: 1<<64 - 1, Created: last.Add(-time.Hour), Deadline: last, Intent: "a.b-c_d/e",
		}, Body: []byte{0xFF, 0}},
		"message from 1970": &Message{Description: Description{
			ID: id1, Sequence: 1, Created: time.UnixMilli(0).UTC(), Deadline: time.UnixMilli(1).UTC(), Intent: "a",
		}},
		"message with text beyond ASCII": &Message{Description: Description{
			ID: id1, Sequence: 9, Created: noon, Deadline: noon.Add(time.Hour), Intent: "a", Thread: "Fäden", ContentType: "text/plain", FileName: "中文.txt",
		}, Body: []byte("ä")},
		"longest description": &Message{Description: longest()},
		"smallest request":    &Request{Intent: "a", SessionType: RequestResponse, Mode: Private, FirstSeq: 1},
		"request with everything at its limit": &Request{
			Nonce: [32]byte{0xFF}, Intent: strings.Repeat("a/", 63) + "aa", SessionType: Stream, Mode: Private,
			Limits: Limits{1<<32 - 1, 1<<64 - 1, 1<<32 - 1}, Features: 1<<32 - 1, Prev: [32]byte{0xFE}, FirstSeq: 1<<64 - 1,
			Resume: make([]ratchet.ID, MaxResume), TierCertificate: bytes.Repeat([]byte{1}, MaxTierCertificate), Invite: bytes.Repeat([]byte{2}, MaxInvite),
		},
		"accept until 9999":     &Accept{SessionType: Stream, Mode: Private, FirstSeq: 1 << 63, GrantExpires: last, Intents: []string{"a"}},
		"reject for good":       &Reject{Knock: [32]byte{9}, Code: Rejected},
		"reject of the blocked": &Reject{Knock: [32]byte{9}, Code: Blocked, RetryAfter: 1<<32 - 1},
		"pending until 1970":    &Pending{Until: time.Unix(0, 0).UTC()},
		"receipts of all states": &Receipts{Messages: []Receipt{
			{ID: id1, State: Delivered, At: noon}, {ID: id1, State: Leased, At: noon}, {ID: id1, State: Handled, At: noon, Text: "done"},
			{ID: id1, State: Failed, Reason: ReasonAgent, At: noon, Text: "no"}, {ID: id1, State: Refused, Reason: ReasonConflict, At: noon},
			{ID: id1, State: Refused, Reason: ReasonParts, At: noon}, {ID: id1, State: Refused, Reason: ReasonBusy, At: noon},
			{ID: id1, State: Refused, Reason: ReasonPolicy, At: noon}, {ID: id1, State: Refused, Reason: ReasonExpired, At: noon},
		}},
		"receipts of envelopes":      &Receipts{Envelopes: []ratchet.ID{{1}, {2}, {1}}},
		"receipt with a long text":   &Receipts{Messages: []Receipt{{ID: id1, State: Failed, Reason: ReasonAgent, At: noon, Text: strings.Repeat("ä", 100)}}},
		"skip of everything":         &Skip{From: 1, To: 1<<64 - 1},
		"close of the last sequence": &Close{Reason: CloseDone, LastSequence: 1<<64 - 1},
		"paths as many as may be": &Paths{
			Stamp: noon, PeerIDs: slices.Repeat([]string{strings.Repeat("p", MaxPeerID)}, MaxPeerIDs),
			Addresses: slices.Repeat([]string{strings.Repeat("a", MaxAddress)}, MaxAddresses), Relays: slices.Repeat([]string{strings.Repeat("r", MaxRelay)}, MaxRelays),
		},
		"offer with everything at its limit": &ICEOffer{Attempt: Attempt(bytes.Repeat([]byte{0xFF}, 16)), Stamp: last, ICEDescription: ICEDescription{
			PeerID: strings.Repeat("p", MaxPeerID), Ufrag: strings.Repeat("u", MaxUfrag), Password: strings.Repeat("w", MaxICEPassword),
			Candidates: slices.Repeat([]string{strings.Repeat("c", MaxCandidate)}, MaxCandidates),
		}},
		"unknown type 0":   &Unknown{Kind: 0, Fields: []byte{1}},
		"unknown type 5":   &Unknown{Kind: 5},
		"unknown type 27":  &Unknown{Kind: 0x1B, Fields: []byte{3}},
		"unknown type 255": &Unknown{Kind: 255, Fields: bytes.Repeat([]byte{0xEE}, 100)},
	}
}

func longest() Description {
	return Description{
		ID: uuid.UUID{15: 1}, Sequence: 1, Created: noon, Deadline: noon.Add(MaxDeadline), Intent: strings.Repeat("i", MaxIntent),
		Thread: strings.Repeat("t", MaxThread), ReplyTo: id2, ContentType: strings.Repeat("c", MaxContentType),
		FileName: strings.Repeat("f", MaxFileName), Signature: bytes.Repeat([]byte{3}, signatureSize),
	}
}

func badParts() map[string]Content {
	good := Part{Description: description(), Index: 1, Count: 2, Total: SliceSize + 10, Slice: make([]byte, 10)}
	out := make(map[string]Content)
	for name, change := range map[string]func(p *Part){
		"part beyond the count":        func(p *Part) { p.Index = 2 },
		"part of one":                  func(p *Part) { p.Count, p.Index = 1, 0 },
		"part of none":                 func(p *Part) { p.Count, p.Index = 0, 0 },
		"part of too many":             func(p *Part) { p.Count = 3 },
		"parts of a short body":        func(p *Part) { p.Total = SliceSize },
		"parts of no body":             func(p *Part) { p.Total = 0 },
		"parts of a body too long":     func(p *Part) { p.Total, p.Count = MaxBody+1, 25 },
		"parts of 4 GiB":               func(p *Part) { p.Total, p.Count = 1<<32-1, 255 },
		"last slice a byte too long":   func(p *Part) { p.Slice = make([]byte, 11) },
		"last slice a byte short":      func(p *Part) { p.Slice = make([]byte, 9) },
		"last slice missing":           func(p *Part) { p.Slice = nil },
		"first slice short":            func(p *Part) { p.Index = 0 },
		"part with a bad file name":    func(p *Part) { p.FileName = "a/b" },
		"whole slice after the last":   func(p *Part) { p.Index, p.Slice = 2, make([]byte, SliceSize) },
		"first slice of a wrong count": func(p *Part) { p.Index, p.Count, p.Slice = 0, 3, make([]byte, SliceSize) },
	} {
		p := good
		change(&p)
		out[name] = &p
	}
	return out
}

// badBytes are what no struct could hold: cut, stretched and with wrong lengths.
func badBytes(t *testing.T) map[string][]byte {
	t.Helper()
	out := map[string][]byte{"empty": nil, "longer than any plaintext": append([]byte{0x99}, make([]byte, ratchet.MaxPlaintext)...)}
	for name, c := range samples {
		raw, err := c.value.Encode()
		if err != nil {
			t.Fatal(err)
		}
		if open(c.value) && c.value.Type() != TypeMessage {
			continue // of unknown length
		}
		out[name+", type only"] = raw[:1]
		out[name+", half"] = raw[:len(raw)/2]
		if c.value.Type() == TypeMessage {
			continue // the body is what is left
		}
		out[name+", a byte short"] = raw[:len(raw)-1]
		out[name+", a byte long"] = append(bytes.Clone(raw), 0)
	}
	for name, c := range readerRules() {
		raw, err := hex.DecodeString(c)
		if err != nil {
			t.Fatal(err)
		}
		out[name] = raw
	}
	return out
}

func TestVectorsContentHashes(t *testing.T) {
	type vector struct {
		Name        string `json:"name"`
		Description any    `json:"description"`
		Body        any    `json:"body"`
		Hash        string `json:"content_hash"`
	}
	var made []vector
	for name, change := range pairs(map[string]func(d *Description, body *[]byte){
		"a message":                 func(*Description, *[]byte) {},
		"another sequence":          func(d *Description, _ *[]byte) { d.Sequence = 1 << 40 },
		"signed":                    func(d *Description, _ *[]byte) { d.Signature = make([]byte, 64) },
		"another id":                func(d *Description, _ *[]byte) { d.ID[3]++ },
		"a millisecond later":       func(d *Description, _ *[]byte) { d.Created = d.Created.Add(time.Millisecond) },
		"due a millisecond later":   func(d *Description, _ *[]byte) { d.Deadline = d.Deadline.Add(time.Millisecond) },
		"another intent":            func(d *Description, _ *[]byte) { d.Intent = "food" },
		"no thread":                 func(d *Description, _ *[]byte) { d.Thread = "" },
		"border of fields moved":    func(d *Description, _ *[]byte) { d.Intent, d.Thread = d.Intent+"t", "1" },
		"no reply":                  func(d *Description, _ *[]byte) { d.ReplyTo = uuid.Nil },
		"another content type":      func(d *Description, _ *[]byte) { d.ContentType = "application/json" },
		"no file name":              func(d *Description, _ *[]byte) { d.FileName = "" },
		"another body":              func(_ *Description, b *[]byte) { *b = []byte("bodY") },
		"no body":                   func(_ *Description, b *[]byte) { *b = nil },
		"longest body, all zeros":   func(_ *Description, b *[]byte) { *b = make([]byte, MaxBody) },
		"body of one message, full": func(_ *Description, b *[]byte) { *b = make([]byte, SliceSize) },
	}) {
		d, body := description(), []byte("body")
		change(&d, &body)
		sum := Hash(d, body)
		made = append(made, vector{name, plain(t, describe(&d)), plain(t, bodyOf(body)), hex.EncodeToString(sum[:])})
	}
	seen := make(map[string]string)
	for _, v := range compare(t, "content_hashes.json", "Content hashes (session.md §9.2). Sequence and signature do not count.", made) {
		same := v.Name == "another sequence" || v.Name == "signed"
		if twin, ok := seen[v.Hash]; ok != same && v.Name != "a message" {
			t.Errorf("%s has the hash of %q", v.Name, twin)
		}
		seen[v.Hash] = v.Name
	}
}
