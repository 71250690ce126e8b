package schema

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
)

const (
	messageV2 = "agntcy:test.message.v2"
	messageV3 = "agntcy:test.message.v3"
	messageV9 = "agntcy:test.message.v9"
)

// Row 78: a strict and a lenient recipient are judged separately. Row 77: who is
// refused learns what would have been taken.
func TestEachRecipientIsJudged(t *testing.T) {
	t.Parallel()
	s := newService(t, Config{Registry: newMemory(t, map[string]string{
		messageV1: messageDefinition, messageV2: `{"required":["title"]}`, "agntcy:other.thing.v1": `true`,
	})})
	strict := Recipient{Requires: true, Supported: []string{messageV1}}
	wild := Recipient{Requires: true, Supported: []string{"agntcy:other.*"}}
	lenient := Recipient{Supported: []string{messageV1}}
	remote := Recipient{Remote: true, Requires: true}
	for name, c := range map[string]struct {
		schema, payload string
		want            map[string]Code // by who; no code is yes
		supported       string          // what strict learns
	}{
		"fits all":        {messageV1, `{"text":"a"}`, map[string]Code{"wild": CodeNotSupported}, ""},
		"does not fit":    {messageV1, `{}`, map[string]Code{"strict": CodeValidationFailed, "wild": CodeNotSupported, "lenient": CodeValidationFailed}, ""},
		"another version": {messageV2, `{"title":"a"}`, map[string]Code{"strict": CodeNotSupported, "wild": CodeNotSupported}, messageV1},
		"other schema":    {"agntcy:other.thing.v1", `1`, map[string]Code{"strict": CodeNotSupported}, messageV1},
		"unknown":         {messageV9, `{}`, map[string]Code{"strict": CodeNotSupported, "wild": CodeNotSupported, "lenient": CodeNotFound}, messageV1},
		"no schema":       {"", `{}`, map[string]Code{"strict": CodeSchemaRequired, "wild": CodeSchemaRequired}, messageV1},
		"no identifier":   {"agntcy:test.v1", `{}`, map[string]Code{"strict": CodeInvalidSchemaID, "wild": CodeInvalidSchemaID, "lenient": CodeInvalidSchemaID, "remote": CodeInvalidSchemaID}, ""},
	} {
		report, err := s.Check(t.Context(), Request{Schema: c.schema, Payload: []byte(c.payload), Recipients: []Recipient{strict, wild, lenient, remote}})
		if err != nil || len(report.Decisions) != 4 {
			t.Fatalf("%s: %+v, %v", name, report, err)
		}
		for i, who := range []string{"strict", "wild", "lenient", "remote"} {
			d := report.Decisions[i]
			if d.Code != c.want[who] || d.Accept != (d.Code == "") || !d.Accept && d.Text == "" {
				t.Errorf("%s: %s: %+v", name, who, d)
			}
		}
		if got := strings.Join(report.Decisions[0].Supported, ","); got != c.supported {
			t.Errorf("%s: strict learns %q, want %q", name, got, c.supported)
		}
	}
}

// Row 79: what a schema of another gateway means is not judged here; the sender
// is warned.
func TestOutboundMailIsNeverRefused(t *testing.T) {
	t.Parallel()
	m := newMemory(t, map[string]string{messageV1: messageDefinition})
	s := newService(t, Config{Registry: m})
	for name, c := range map[string]struct {
		schema, payload string
		down            bool
		warning         Code
	}{
		"fits":         {messageV1, `{"text":"a"}`, false, ""},
		"does not fit": {messageV1, `{}`, false, CodeRequiredMissing},
		"unknown":      {messageV9, `{}`, false, CodeUnverified},
		"registry off": {messageV1, `{}`, true, CodeUnverified},
	} {
		m.down = c.down
		report, err := s.Check(t.Context(), Request{Schema: c.schema, Payload: []byte(c.payload), Recipients: []Recipient{{Remote: true}}})
		if err != nil || !report.Decisions[0].Accept {
			t.Fatalf("%s: %+v, %v", name, report, err)
		}
		if w := report.Decisions[0].Warnings; (c.warning == "") != (len(w) == 0) || len(w) > 0 && w[0].Code != c.warning {
			t.Errorf("%s: %+v", name, w)
		}
	}
	// For a local recipient nobody knows the verdict, and the message must wait.
	m.down = true
	if _, err := s.Check(t.Context(), Request{Schema: messageV1, Recipients: []Recipient{{}}}); !errors.Is(err, ErrUnavailable) {
		t.Errorf("%v, want ErrUnavailable", err)
	}
}

func TestWithoutRegistryOrChecks(t *testing.T) {
	t.Parallel()
	strict := Recipient{Requires: true, Supported: []string{messageV1}}
	for name, s := range map[string]*Service{
		"no registry": newService(t, Config{}),
		"unchecked":   newService(t, Config{Registry: newMemory(t, map[string]string{messageV1: messageDefinition}), Unchecked: true}),
	} {
		for schema, want := range map[string]bool{messageV1: true, messageV9: false, "": false} {
			r, err := s.Check(t.Context(), Request{Schema: schema, Payload: []byte(`1`), Recipients: []Recipient{strict, {}}})
			if err != nil || r.Decisions[0].Accept != want || !r.Decisions[1].Accept {
				t.Errorf("%s: %q: %+v, %v", name, schema, r, err)
			}
		}
	}
	if _, err := newService(t, Config{}).List(t.Context(), Pattern{}); !errors.Is(err, ErrNotConfigured) {
		t.Error(err)
	}
}

func TestNegotiation(t *testing.T) {
	t.Parallel()
	versions := map[string]string{messageV1: `{"required":["a"]}`, messageV3: `{"required":["c"]}`, "agntcy:test.message.v8": `true`}
	any, v1 := Recipient{}, Recipient{Requires: true, Supported: []string{messageV1}}
	for name, c := range map[string]struct {
		n         Negotiation
		schema    string
		recipient Recipient
		payload   string
		used      string
		code      Code
	}{
		"off":                     {Negotiation{}, messageV2, any, `{"c":1}`, "", CodeNotFound},
		"exact":                   {Negotiation{Enabled: true}, messageV1, any, `{"a":1}`, messageV1, ""},
		"latest within the drift": {Negotiation{Enabled: true}, messageV2, any, `{"c":1}`, messageV3, ""},
		"latest, wider":           {Negotiation{Enabled: true, MaxDrift: 6}, messageV2, any, `{}`, "agntcy:test.message.v8", ""},
		"latest does not fit":     {Negotiation{Enabled: true}, messageV2, any, `{"a":1}`, messageV3, CodeValidationFailed},
		"previous":                {Negotiation{Enabled: true, Fallback: FallbackPrevious}, messageV2, any, `{"a":1}`, messageV1, ""},
		"previous of the lowest":  {Negotiation{Enabled: true, Fallback: FallbackPrevious}, "agntcy:test.message.v0", any, `{"c":1}`, messageV3, ""},
		"fail":                    {Negotiation{Enabled: true, Fallback: FallbackFail}, messageV2, any, `{}`, "", CodeNegotiationFailed},
		"too far":                 {Negotiation{Enabled: true}, "agntcy:test.message.v12", any, `{}`, "", CodeNegotiationFailed},
		"no version at all":       {Negotiation{Enabled: true}, "agntcy:test.nothing.v1", any, `{}`, "", CodeNegotiationFailed},
		"what the agent supports": {Negotiation{Enabled: true}, messageV3, v1, `{"a":1}`, messageV1, ""},
		"off, not supported":      {Negotiation{}, messageV3, v1, `{"a":1}`, "", CodeNotSupported},
		"supported is too far":    {Negotiation{Enabled: true}, "agntcy:test.message.v8", v1, `{}`, "", CodeNotSupported},
	} {
		s := newService(t, Config{Registry: newMemory(t, versions), Negotiation: c.n})
		report, err := s.Check(t.Context(), Request{Schema: c.schema, Payload: []byte(c.payload), Recipients: []Recipient{c.recipient}})
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		d := report.Decisions[0]
		used := ""
		if d.Used != (ID{}) {
			used = d.Used.String()
		}
		if d.Code != c.code || used != c.used {
			t.Errorf("%s: %+v; want %q and %s", name, d, c.code, c.used)
		}
		// The sender is told which version was used.
		if told := len(d.Warnings) == 1 && d.Warnings[0].Code == CodeNegotiated; told != (used != "" && used != c.schema) {
			t.Errorf("%s: warnings %+v", name, d.Warnings)
		}
		if c.code == CodeNegotiationFailed && strings.HasPrefix(c.schema, "agntcy:test.message.") && len(d.Supported) != 3 {
			t.Errorf("%s: supported %v", name, d.Supported)
		}
	}
}

// Golden case 072: v2 is not there and v3 is used; unlike agentry we say so.
func TestValidateSaysWhichVersionWasUsed(t *testing.T) {
	t.Parallel()
	m := newMemory(t, map[string]string{messageV1: `true`, messageV3: messageDefinition})
	s := newService(t, Config{Registry: m, Negotiation: Negotiation{Enabled: true}})
	r, err := s.Validate(t.Context(), id(t, messageV2), []byte(`{"text":"a"}`))
	if err != nil || !r.Valid || r.Used != id(t, messageV3) || len(r.Warnings) != 1 {
		t.Errorf("%+v, %v", r, err)
	}
	off := newService(t, Config{Registry: m})
	if _, err := off.Validate(t.Context(), id(t, messageV2), nil); !errors.Is(err, ErrNotFound) {
		t.Error(err)
	}
}

func TestTrustedSendersAreNotChecked(t *testing.T) {
	t.Parallel()
	var log bytes.Buffer
	s := newService(t, Config{
		Registry: newMemory(t, map[string]string{messageV1: messageDefinition}),
		Trusted:  []string{"robot@north.test", "*@East.test", "*@*.corp.test", "west.test"},
		Log:      slog.New(slog.NewTextHandler(&log, &slog.HandlerOptions{Level: slog.LevelDebug})),
	})
	for sender, entry := range map[string]string{
		"robot@north.test": "robot@north.test", "robot@NORTH.test": "robot@north.test", "Robot@north.test": "", "other@north.test": "",
		"any@east.test": "*@East.test", "any@sub.east.test": "", "any@a.b.corp.test": "*@*.corp.test", "any@corp.test": "", "any@evilcorp.test": "",
		"x@west.test": "west.test", "nobody": "", "": "", "robot@north.test@south.test": "",
	} {
		for _, proven := range []bool{true, false} {
			request := Request{Schema: messageV1, Payload: []byte(`{}`), Sender: sender, Proven: proven,
				Recipients: []Recipient{{}, {Requires: true, Supported: []string{messageV2}}}}
			r, err := s.Check(t.Context(), request)
			if err != nil {
				t.Fatal(err)
			}
			want := entry
			if !proven {
				want = ""
			}
			if r.Bypassed != want || r.Decisions[0].Accept != (want != "") {
				t.Errorf("%s, proven %v: %+v", sender, proven, r)
			}
			// What an agent takes at all is the agent's word.
			if r.Decisions[1].Accept {
				t.Errorf("%s went past the agent's own requirement", sender)
			}
		}
	}
	if !strings.Contains(log.String(), "sender=robot@north.test") {
		t.Errorf("not logged: %s", log.String())
	}
	for _, text := range []string{"", "@north.test", "a*@north.test", "*@", "*", "a@b@c", "*@*.*"} {
		if _, err := New(Config{Trusted: []string{text}}); err == nil {
			t.Errorf("%q was taken", text)
		}
	}
}

func TestRegistryIsAskedOnceWhileFresh(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMemory(t, map[string]string{messageV1: `{"type":"string"}`})
		s := newService(t, Config{Registry: m, Fresh: time.Minute, Limits: Limits{Cached: 2}})
		var wg sync.WaitGroup
		for range 8 {
			wg.Go(func() {
				for _, name := range []string{messageV1, messageV9} {
					if _, err := s.Get(t.Context(), id(t, name)); err != nil && !errors.Is(err, ErrNotFound) {
						t.Error(err)
					}
				}
			})
		}
		wg.Wait()
		if m.asked != 2 {
			t.Errorf("the registry was asked %d times, want 2", m.asked)
		}
		m.set(t, messageV1, `{"type":"number"}`)
		time.Sleep(time.Minute)
		if r, err := s.Validate(t.Context(), id(t, messageV1), []byte(`1`)); err != nil || !r.Valid {
			t.Errorf("the new definition is not used: %+v, %v", r, err)
		}
		// An old answer is better than none, for a while.
		m.down = true
		time.Sleep(time.Hour)
		if _, err := s.Get(t.Context(), id(t, messageV1)); err != nil {
			t.Errorf("registry down: %v", err)
		}
		time.Sleep(staleFor)
		if _, err := s.Get(t.Context(), id(t, messageV1)); !errors.Is(err, ErrUnavailable) {
			t.Errorf("registry down for a day: %v", err)
		}
		// Nobody waits for longer than they want, and what others wait for goes on.
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		m.down = false
		if _, err := s.Get(ctx, id(t, messageV2)); err != nil && !errors.Is(err, context.Canceled) && !errors.Is(err, ErrNotFound) {
			t.Error(err)
		}
		if got := s.schemas.answers.order.Len(); got > 2 {
			t.Errorf("%d answers are kept, want 2", got)
		}
	})
}

// An answer that was under way while somebody changed the schema is not kept.
func TestAnswerOvertakenByAChangeIsNotKept(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCache[string, int](time.Hour, 1)
		go1, asked := make(chan struct{}), 0
		ask := func(context.Context) (int, error) {
			asked++
			n := asked
			if n == 1 {
				<-go1
			}
			return n, nil
		}
		first := make(chan int)
		go func() {
			n, _ := c.get(t.Context(), "a", ask)
			first <- n
		}()
		synctest.Wait()
		c.drop("a")
		close(go1)
		if n := <-first; n != 1 {
			t.Errorf("the first asker got %d", n)
		}
		if n, _ := c.get(t.Context(), "a", ask); n != 2 {
			t.Errorf("the old answer %d was kept", n)
		}
	})
}

func TestConfigIsChecked(t *testing.T) {
	t.Parallel()
	for name, cfg := range map[string]Config{
		"formats": {Formats: "sometimes"}, "fallback": {Negotiation: Negotiation{Fallback: "next"}}, "drift": {Negotiation: Negotiation{MaxDrift: -1}},
		"update": {Compatibility: Compatibility{Update: "both"}}, "versions": {Compatibility: Compatibility{Versions: "both"}},
	} {
		if _, err := New(cfg); err == nil {
			t.Errorf("%s was taken", name)
		}
	}
}

func TestProblemsInJSON(t *testing.T) {
	t.Parallel()
	b, err := json.Marshal([]Problem{problemAt([]string{"a", "0"}, CodeTypeMismatch, "type", "expected type %s", "string")})
	if want := `[{"field":"a[0]","pointer":"/a/0","message":"expected type string","code":"TYPE_MISMATCH","keyword":"type"}]`; err != nil || string(b) != want {
		t.Error(cmp.Diff(want, string(b)))
	}
}
