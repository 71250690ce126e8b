package wire

import (
	"encoding/json"
	"math"
	"testing"

	"amesh/identity"
)

// T75: whatever stands in the place of a score, it becomes one between 0 and 1, or none.
func TestT75ScoreOfAnyText(t *testing.T) {
	for text, want := range map[string]float64{
		"0": 0, "1": 1, "0.25": 0.25, "1e-9": 1e-9, " 1 ": 1, "-0": 0,
		"-1": math.NaN(), "1.5": math.NaN(), "1e308": math.NaN(), "1e999": math.NaN(), `"1"`: math.NaN(), `"NaN"`: math.NaN(),
		"true": math.NaN(), "[]": math.NaN(), "{}": math.NaN(),
	} {
		var s Score
		if err := json.Unmarshal([]byte(text), &s); err != nil {
			t.Errorf("%s: %v", text, err)
		}
		if s.Value != want && !(math.IsNaN(s.Value) && math.IsNaN(want)) {
			t.Errorf("%s: got %v, want %v", text, s.Value, want)
		}
	}
}

func TestScoreIsWrittenAsANumber(t *testing.T) {
	b, err := json.Marshal(Feedback{Score: &Score{0.25}})
	if want := `{"target_amid":"","from_amid":"","session_id":"","score":0.25}`; err != nil || string(b) != want {
		t.Errorf("got %s, %v", b, err)
	}
}

func FuzzFeedback(f *testing.F) {
	f.Add([]byte(`{"target_amid":"A","from_amid":"B","session_id":"s","score":0.5,"tags":["helpful"]}`))
	f.Add([]byte(`{"score":1e999}`))
	f.Fuzz(func(t *testing.T, raw []byte) {
		var b Feedback
		if json.Unmarshal(raw, &b) != nil {
			return
		}
		target, from, err := b.Check()
		if err != nil {
			if e, ok := err.(*Error); !ok || e.Status != 400 {
				t.Fatalf("%v is no refusal", err)
			}
			return
		}
		if target == from || target == (identity.AMID{}) && b.TargetAMID == "" || !(b.Score.Value >= 0 && b.Score.Value <= 1) {
			t.Fatalf("took %s", raw)
		}
	})
}
