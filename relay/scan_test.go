package relay

import (
	"encoding/json"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"amesh/relay/mailbox"

	"github.com/google/go-cmp/cmp"
)

// Send frames as clients write them, and what only looks like them.
var sendFrames = []struct {
	name, frame string
	plain       bool // scanSend should understand it
}{
	{"of the Python SDK", `{"type": "send", "to": "2Uq5", "encrypted_payload": "AAEC", "message_type": "message", "ice_candidates": null}`, true},
	{"of the JavaScript SDK", `{"type":"send","to":"2Uq5","encrypted_payload":"AAEC","message_type":"knock"}`, true},
	{"of ours", `{"type":"send","to":"2Uq5","encrypted_payload":"AAEC","message_type":"message","client_id":"7"}`, true},
	{"space everywhere", " {\n\"type\"\t:\r\"send\" , \"to\":\"a\",\"encrypted_payload\":\"\",\"message_type\":\"close\"} \n", true},
	{"beyond ASCII", `{"type":"send","to":"ü","encrypted_payload":"日本 and some more","message_type":"message","x":"é"}`, true},
	{"twice, the last counts", `{"type":"ack","to":"a","to":"b","encrypted_payload":"x","encrypted_payload":"y","message_type":"message","type":"send"}`, true},
	{"unknown members", `{"a":true,"b":null,"type":"send","to":"a","c":"d","encrypted_payload":"p","message_type":"message","":false}`, true},
	{"client_id of another type", `{"type":"send","to":"a","encrypted_payload":"p","message_type":"message","client_id":null}`, true},
	{"long payload", `{"type":"send","to":"a","encrypted_payload":"` + strings.Repeat("A", 5000) + `","message_type":"message"}`, true},

	{"candidates", `{"type":"send","to":"a","encrypted_payload":"p","message_type":"message","ice_candidates":[]}`, false},
	{"escape in the payload", `{"type":"send","to":"a","encrypted_payload":"p\u0041","message_type":"message"}`, false},
	{"escape in a name", `{"type":"send","t\u006f":"a","encrypted_payload":"p","message_type":"message"}`, false},
	{"number", `{"type":"send","to":"a","encrypted_payload":"p","message_type":"message","n":1}`, false},
	{"list", `{"type":"send","to":"a","encrypted_payload":"p","message_type":"message","n":[]}`, false},
	{"no UTF-8", "{\"type\":\"send\",\"to\":\"a\",\"encrypted_payload\":\"p\",\"message_type\":\"message\",\"x\":\"\xff\"}", false},
	{"line break in the payload", "{\"type\":\"send\",\"to\":\"a\",\"encrypted_payload\":\"12345678\n\",\"message_type\":\"message\"}", false},
	{"payload null", `{"type":"send","to":"a","encrypted_payload":null,"message_type":"message"}`, false},
	{"first a text, then null", `{"type":"send","to":"a","encrypted_payload":"p","to":null,"message_type":"message"}`, false},
	{"unknown kind", `{"type":"send","to":"a","encrypted_payload":"p","message_type":"greeting"}`, false},
	{"client_id too long", `{"type":"send","to":"a","encrypted_payload":"p","message_type":"message","client_id":"` + strings.Repeat("1", 65) + `"}`, false},
	{"comma at the end", `{"type":"send","to":"a","encrypted_payload":"p","message_type":"message",}`, false},
	{"something behind", `{"type":"send","to":"a","encrypted_payload":"p","message_type":"message"}}`, false},
	{"not closed", `{"type":"send","to":"a","encrypted_payload":"p","message_type":"message"`, false},
	{"literal and more", `{"type":"send","to":"a","encrypted_payload":"p","message_type":"message","x":nullx}`, false},
	{"in capitals", `{"type":"send","TO":"a","encrypted_payload":"p","message_type":"message"}`, false},
	{"empty", `{}`, false},
}

func TestScanSend(t *testing.T) {
	for _, c := range sendFrames {
		if _, ok := scanSend([]byte(c.frame), DefaultLimits()); ok != c.plain {
			t.Errorf("%s: understood: %v, want %v", c.name, ok, c.plain)
		}
		sameAsParsed(t, []byte(c.frame))
	}
}

// sameAsParsed says that what scanSend understands is what the parser understands.
func sameAsParsed(t *testing.T, data []byte) {
	t.Helper()
	got, ok := scanSend(data, DefaultLimits())
	if !ok {
		return
	}
	frame, err := parseClientFrame(data, DefaultLimits())
	if diff := cmp.Diff(any(got.frame()), frame, cmp.AllowUnexported(sendFrame{})); err != nil || diff != "" {
		t.Errorf("%q: %v, scanned and parsed differ:\n%s", data, err, diff)
	}
}

func FuzzScanSend(f *testing.F) {
	for _, c := range sendFrames {
		f.Add([]byte(c.frame))
	}
	f.Fuzz(func(t *testing.T, data []byte) { sameAsParsed(t, data) })
}

// Frames of which all members are texts, lists of texts and literals, and some that only
// look so.
var memberFrames = []struct {
	name, frame string
	plain       bool // scanMembers should understand it
}{
	{"connect", `{"type":"connect","p2p_capable":false,"relay":"a:1","extensions":["ack" , "binary"]}`, true},
	{"ack", `{"type":"ack","message_ids":[ ]}`, true},
	{"twice, the last counts", `{"a":"x","a":["y"],"a":null}`, true},
	{"beyond ASCII", `{"ü":["日本"]}`, true},
	{"escape", `{"a":"\u0041"}`, false},
	{"escape in a list", `{"a":["\n"]}`, false},
	{"number", `{"a":1}`, false},
	{"list of literals", `{"a":[null]}`, false},
	{"list in a list", `{"a":[["b"]]}`, false},
	{"object", `{"a":{}}`, false},
	{"comma at the end of a list", `{"a":["b",]}`, false},
	{"comma at the beginning of a list", `{"a":[,"b"]}`, false},
	{"list without comma", `{"a":["b" "c"]}`, false},
	{"list that does not end", `{"a":["b"`, false},
	{"comma at the end", `{"a":"b",}`, false},
	{"something behind", `{"a":"b"}x`, false},
	{"no UTF-8 in a list", "{\"a\":[\"\xff\"]}", false},
	{"empty", `{}`, false},
	{"only the end", `}`, false},
}

func TestScanMembers(t *testing.T) {
	for _, c := range memberFrames {
		if _, ok := scanMembers([]byte(c.frame)); ok != c.plain {
			t.Errorf("%s: understood: %v, want %v", c.name, ok, c.plain)
		}
		sameMembers(t, []byte(c.frame))
	}
}

// sameMembers says that what scanMembers understands is what package json understands.
func sameMembers(t *testing.T, data []byte) {
	t.Helper()
	got, ok := scanMembers(data)
	if !ok {
		return
	}
	var want members
	if err := json.Unmarshal(data, &want); err != nil || !utf8.Valid(data) {
		t.Errorf("%q was understood: %v", data, err)
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("%q: scanned and decoded differ:\n%s", data, diff)
	}
}

func FuzzScanMembers(f *testing.F) {
	for _, c := range memberFrames {
		f.Add([]byte(c.frame))
	}
	for _, c := range sendFrames {
		f.Add([]byte(c.frame))
	}
	f.Fuzz(func(t *testing.T, data []byte) { sameMembers(t, data) })
}

func sameAsEncoded(t *testing.T, payload, id string) {
	t.Helper()
	if strings.ToValidUTF8(payload, "") != payload {
		return // never gets into a mailbox
	}
	row := &mailbox.Row{At: time.UnixMicro(1_700_000_000_123_456), Message: mailbox.Message{
		From: testKey(t, 1).AMID(), Kind: KindKnock, Payload: payload}}
	if got, want := string(receiveText(row, id)), string(encode(receiveOf(row, id))); got != want {
		t.Errorf("got %s, want %s", got, want)
	}
}

// What lies in the mailbox as bytes is text for whoever speaks no binary.
func TestReceiveTextOfBytes(t *testing.T) {
	for _, payload := range []string{"plain text", string(envelope("x"))} {
		row := &mailbox.Row{Message: mailbox.Message{Payload: payload, Kind: KindMessage, Binary: true}}
		if want := mailbox.EnvelopeText([]byte(payload)); !strings.Contains(string(receiveText(row, "")), `"`+want+`"`) {
			t.Errorf("%q: %s", payload, receiveText(row, ""))
		}
	}
}

func TestReceiveText(t *testing.T) {
	for _, payload := range []string{"", "AAEC", "<&>", "a\"b", "a\\b", "line\nbreak", "\x00", "\x7f", "日本", "\u2028"} {
		sameAsEncoded(t, payload, "")
		sameAsEncoded(t, payload, "00ff")
	}
}

func FuzzReceiveText(f *testing.F) {
	f.Add("AAEC")
	f.Add("a\"b\u2028")
	f.Fuzz(func(t *testing.T, payload string) { sameAsEncoded(t, payload, "00ff") })
}
