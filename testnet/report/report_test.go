package report

import (
	"bytes"
	"encoding/xml"
	"io"
	"strings"
	"testing"
	"time"

	"amesh/node/api"
	"amesh/testnet/plan"
	"amesh/testnet/scenario"
)

func sample() scenario.Run {
	at := time.Date(2026, 11, 20, 9, 0, 0, 0, time.UTC)
	return scenario.Run{
		Began: at, TookMS: 1500, Passed: true,
		Results: []scenario.Result{
			{Name: "ask", Says: "everybody asks", Outcome: scenario.Passed, TookMS: 900, Counts: scenario.Counts{Sent: 6, Handled: 6}, Notes: []string{"6 questions"}},
			{Name: "partition", Says: "a line is cut", Outcome: scenario.Skipped, Why: `no "lines" <here>`},
		},
		Total: scenario.Counts{Sent: 7, Handled: 6, Dead: 1, Refused: 1},
		Picture: scenario.Picture{
			At: at, Relays: []string{"r1"},
			Nodes: []scenario.Standing{
				{Name: "n1", Kind: plan.Open, Relays: []string{"r1"}},
				{Name: "n2", Kind: plan.Symmetric, Relays: []string{"r1"}},
				{Name: "n3", Kind: plan.Double, Down: true},
			},
			Paths: []scenario.Path{
				{From: "n1", To: "n2", Kind: api.PathPunched, Remote: "/ip4/11.77.0.102/udp/1/quic-v1"},
				{From: "n2", To: "n1", Kind: api.PathRelayed, Text: "<script>alert(1)</script>"},
				{From: "n1", To: "n3", Kind: api.PathNone},
				{From: "n3", To: "n1", Down: true},
				{From: "n2", To: "n3", Kind: api.PathNone},
			},
		},
	}
}

func page(t *testing.T, run scenario.Run) string {
	t.Helper()
	var b bytes.Buffer
	if err := Write(&b, "v1", run); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

func TestPageSaysWhatHappened(t *testing.T) {
	text := page(t, sample())
	for _, want := range []string{
		"7 sent = 6 handled", `<span class="passed">passed</span>`, "no &#34;lines&#34; &lt;here&gt;", "6 questions",
		`class="relayed" x1=`, "n1 to n2: punched; n2 to n1: relayed", `class="down" x1=`, `class="unused" x1=`, "symmetric",
	} {
		if !strings.Contains(text, want) {
			t.Errorf("%q is missing", want)
		}
	}
	failed := sample()
	failed.Passed = false
	if !strings.Contains(page(t, failed), `<span class="failed">failed</span>`) {
		t.Error("a failed run does not say so")
	}
}

// The page is read where nothing else can be loaded, and holds what peers wrote.
func TestPageNeedsNothingFromElsewhere(t *testing.T) {
	text := page(t, sample())
	for _, bad := range []string{"<script", "http:", "https:", "src=", "@import", "url("} {
		if strings.Contains(text, bad) {
			t.Errorf("the page has %q", bad)
		}
	}
}

func TestDrawingIsWellFormed(t *testing.T) {
	_, rest, _ := strings.Cut(page(t, sample()), "<svg")
	svg, _, ok := strings.Cut("<svg"+rest, "</svg>")
	if !ok {
		t.Fatal("there is no drawing")
	}
	d := xml.NewDecoder(strings.NewReader(svg + "</svg>"))
	count := make(map[string]int)
	for {
		token, err := d.Token()
		if err == io.EOF {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		if e, ok := token.(xml.StartElement); ok {
			count[e.Name.Local]++
		}
	}
	if count["circle"] != 3 || count["rect"] != 1 || count["line"] != 3 {
		t.Errorf("drawn are %v, want 3 nodes, 1 relay, 3 lines", count)
	}
}
