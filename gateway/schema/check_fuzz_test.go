package schema

import (
	"errors"
	"strings"
	"testing"
	"time"
)

// Whatever is registered and sent, a check ends and the gateway goes on.
func FuzzCheck(f *testing.F) {
	for _, definition := range []string{
		messageDefinition, doubling(5), chain(20), `{"$ref":"https://json-schema.org/draft/2020-12/schema"}`,
		`{"$dynamicAnchor":"n","items":{"$dynamicRef":"#n"},"unevaluatedItems":false}`,
		`{"$schema":"http://json-schema.org/draft-04/schema#","id":"http://x.test/","items":[{"$ref":"#"}],"dependencies":{"a":["b"]}}`,
		`{"patternProperties":{"^a+$":{"uniqueItems":true}},"propertyNames":{"maxLength":3},"if":{"const":1},"then":false,"not":{"enum":[[1]]}}`,
	} {
		for _, payload := range []string{`{"text":"a","a":[1,1.0],"b":{"a":[]}}`, `[[[1e400]]]`, `"x"`} {
			f.Add(definition, payload)
		}
	}
	f.Fuzz(func(t *testing.T, definition, payload string) {
		m := newMemory(t, nil)
		m.schemas[ID{Domain: "a", Entity: "b", Version: 1}] = Schema{ID: ID{Domain: "a", Entity: "b", Version: 1}, Definition: []byte(definition)}
		s := newService(t, Config{Registry: m, WarnUnknown: true, Limits: Limits{Steps: 10_000, Time: time.Minute}})
		sch := Schema{ID: ID{Domain: "c", Entity: "d", Version: 1}, Definition: []byte(definition)}
		_, err := s.Register(t.Context(), sch, false)
		var refused *DefinitionError
		if err != nil && (!errors.As(err, &refused) || len(refused.Problems) == 0) {
			t.Errorf("register: %v", err)
		}
		report, err := s.Check(t.Context(), Request{Schema: "agntcy:a.b.v1", Payload: []byte(payload), Recipients: []Recipient{{}, {Remote: true}}})
		if err != nil || !report.Decisions[1].Accept {
			t.Errorf("check: %+v, %v", report, err)
		}
		if d := report.Decisions[0]; !d.Accept && len(d.Errors) == 0 {
			t.Errorf("refused without a reason: %+v", d)
		}
		for _, p := range report.Decisions[0].Errors {
			if p.Pointer != "" && !strings.HasPrefix(p.Pointer, "/") || p.Message == "" || p.Code == "" {
				t.Errorf("%+v", p)
			}
		}
		_, _, _ = s.Update(t.Context(), Schema{ID: sch.ID, Definition: []byte(payload)}, false)
	})
}
