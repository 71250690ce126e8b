package amtp_test

import (
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"testing"

	"amesh/gateway/amtp"
)

// refused are the recorded messages that are not taken, with the code. agentry
// refused them too, but for those marked: it took a display name and then
// looked for the domain "a.local>", and replaced a garbage time by the current one.
var refused = map[string]amtp.Code{
	"105-send-notjson.json":           amtp.CodeInvalidRequestFormat,
	"106-send-empty-obj.json":         amtp.CodeValidationFailed,
	"107-send-empty-body.json":        amtp.CodeInvalidRequestFormat,
	"110-send-bad-sender.json":        amtp.CodeValidationFailed,
	"111-send-bad-recipient.json":     amtp.CodeValidationFailed,
	"112-send-display-name.json":      amtp.CodeValidationFailed, // marked
	"117-send-bad-idem.json":          amtp.CodeMessageValidationFailed,
	"122-send-timestamp-garbage.json": amtp.CodeInvalidTimestamp, // marked
	"136-send-attach-nohash.json":     amtp.CodeValidationFailed,
	"137-send-attach-badhash.json":    amtp.CodeValidationFailed,
	"140-send-attach-nofile.json":     amtp.CodeValidationFailed,
	"141-send-attach-negsize.json":    amtp.CodeValidationFailed,
	"142-send-attach-noctype.json":    amtp.CodeValidationFailed,
	"145-coord-badtype.json":          amtp.CodeValidationFailed,
	"146-coord-notimeout.json":        amtp.CodeValidationFailed,
	"150-coord-cond-noif.json":        amtp.CodeValidationFailed,
	"151-coord-cond-nothen.json":      amtp.CodeValidationFailed,
	"152-coord-seq-bademail.json":     amtp.CodeValidationFailed,
}

// recorded is a golden case: what was sent to agentry, or what agentry sent.
type recorded struct {
	Request  sent
	Outbound sent `json:"outbound_request_seen_by_foreign_server"`
	Response struct {
		Body struct{ Error amtp.ErrorDetail }
	}
}

type sent struct {
	Method, Path string
	Body         json.RawMessage
	RawBody      *string `json:"raw_body"`
}

func (s sent) bytes() []byte {
	if s.RawBody != nil {
		return []byte(*s.RawBody)
	}
	return s.Body
}

func TestRecordedMessagesAreTakenOrRefusedAsAgentryDid(t *testing.T) {
	t.Parallel()
	files, err := filepath.Glob("../testdata/golden/*.json")
	if err != nil || len(files) == 0 {
		t.Fatal("no golden cases", err)
	}
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		var c recorded
		if err := json.Unmarshal(text, &c); err != nil {
			continue // a body that is not what a message's answer is
		}
		for _, s := range []sent{c.Request, c.Outbound} {
			if s.Method != "POST" || s.Path != "/v1/messages" {
				continue
			}
			_, err := amtp.Parse(s.bytes(), amtp.Rules{Now: now})
			var e *amtp.Error
			switch want := refused[filepath.Base(file)]; {
			case want == "" && err != nil:
				t.Errorf("%s: %v", file, err)
			case want != "" && (!errors.As(err, &e) || e.Code != want):
				t.Errorf("%s: got %v, want %s", file, err, want)
			case e != nil && c.Response.Body.Error.Code != "" && e.Code != c.Response.Body.Error.Code:
				t.Errorf("%s: got %v, agentry said %s", file, err, c.Response.Body.Error.Code)
			case e != nil && e.Code == amtp.CodeValidationFailed && c.Response.Body.Error.Details != nil &&
				e.Details["validation_error"] != c.Response.Body.Error.Details["validation_error"]:
				t.Errorf("%s: got %v, agentry said %v", file, e.Details, c.Response.Body.Error.Details)
			}
		}
	}
}
