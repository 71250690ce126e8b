package knock

import (
	"testing"

	"amesh/internal/content"
)

// An accept that gives more than was asked for, or something else, is no answer.
func TestAnAcceptAnswersWhatWasAsked(t *testing.T) {
	limited := content.Limits{Messages: 10, Bytes: 1000, Seconds: 60}
	for name, c := range map[string]struct {
		asked  content.Limits
		change func(a *content.Accept)
		want   bool
	}{
		"the same":           {limited, func(*content.Accept) {}, true},
		"less":               {limited, func(a *content.Accept) { a.Limits = content.Limits{Messages: 1, Bytes: 1, Seconds: 1} }, true},
		"more messages":      {limited, func(a *content.Accept) { a.Limits.Messages = 11 }, false},
		"more bytes":         {limited, func(a *content.Accept) { a.Limits.Bytes = 1001 }, false},
		"more time":          {limited, func(a *content.Accept) { a.Limits.Seconds = 61 }, false},
		"messages unlimited": {limited, func(a *content.Accept) { a.Limits.Messages = 0 }, false},
		"limits for none":    {content.Limits{}, func(a *content.Accept) { a.Limits = limited }, true},
		"another type":       {limited, func(a *content.Accept) { a.SessionType = content.Stream }, false},
		"another mode":       {limited, func(a *content.Accept) { a.Mode = content.Private }, false},
	} {
		terms := Terms{Type: content.Conversation, Mode: content.Accountable, Limits: c.asked}
		a := &content.Accept{SessionType: content.Conversation, Mode: content.Accountable, Limits: c.asked}
		c.change(a)
		if got := terms.AnsweredBy(a); got != c.want {
			t.Errorf("%s: %t", name, got)
		}
	}
}

func TestWhatTermsAllow(t *testing.T) {
	for name, c := range map[string]struct {
		typ           content.SessionType
		limits        content.Limits
		used          Used
		asker, answer bool // what each side may have sent
	}{
		"nothing yet":              {content.Conversation, content.Limits{Messages: 1, Bytes: 1}, Used{}, true, true},
		"a conversation goes on":   {content.Conversation, content.Limits{}, Used{1 << 20, 1 << 40}, true, true},
		"as many as allowed":       {content.Conversation, content.Limits{Messages: 3}, Used{3, 99}, true, true},
		"one too many":             {content.Conversation, content.Limits{Messages: 3}, Used{4, 0}, false, false},
		"as long as allowed":       {content.Conversation, content.Limits{Bytes: 100}, Used{9, 100}, true, true},
		"a byte too long":          {content.Conversation, content.Limits{Bytes: 100}, Used{1, 101}, false, false},
		"one each":                 {content.RequestResponse, content.Limits{}, Used{1, 5}, true, true},
		"two requests":             {content.RequestResponse, content.Limits{Messages: 5}, Used{2, 5}, false, false},
		"a request too long":       {content.RequestResponse, content.Limits{Bytes: 4}, Used{1, 5}, false, false},
		"a stream flows one way":   {content.Stream, content.Limits{}, Used{7, 5}, true, false},
		"a stream before its flow": {content.Stream, content.Limits{}, Used{}, true, true},
		"a stream with an end":     {content.Stream, content.Limits{Messages: 6}, Used{7, 5}, false, false},
	} {
		terms := Terms{Type: c.typ, Limits: c.limits}
		if got := terms.Allows(c.used, true); got != c.asker {
			t.Errorf("%s, asker: %t", name, got)
		}
		if got := terms.Allows(c.used, false); got != c.answer {
			t.Errorf("%s, responder: %t", name, got)
		}
	}
	if got := (Used{1, 2}).Plus(3); got != (Used{2, 5}) {
		t.Errorf("one more makes %+v", got)
	}
}
