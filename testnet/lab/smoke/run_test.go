package smoke_test

import (
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"amesh/testnet/scenario"
)

// build makes the static binary.
func build(t *testing.T, file string) {
	t.Helper()
	cmd := exec.Command("go", "build", "-trimpath", "-ldflags", "-s -w", "-o", file, "amesh/cmd/amesh")
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("build: %v\n%s", err, out)
	}
}

// smoke runs the scenarios, and checks what they come to and the page about them.
func smoke(t *testing.T, binary string, where ...string) scenario.Run {
	t.Helper()
	page := filepath.Join(filepath.Dir(binary), "report.html")
	cmd := exec.Command(binary, append([]string{"testnet", "run", "smoke", "--json", "--report", page}, where...)...)
	var complaint strings.Builder
	cmd.Stderr = &complaint
	out, err := cmd.Output()
	var answer struct{ Data scenario.Run }
	if jsonErr := json.Unmarshal(out, &answer); err != nil || jsonErr != nil {
		t.Fatalf("run smoke: %v, %v\n%s\n%s", err, jsonErr, out, &complaint)
	}
	run := answer.Data
	for _, r := range run.Results {
		t.Logf("%-10s %-8s %4.1f s  %+v %s", r.Name, r.Outcome, float64(r.TookMS)/1000, r.Counts, strings.Join(r.Notes, "; "))
		if r.Outcome != scenario.Passed {
			t.Errorf("%s %s: %s", r.Name, r.Outcome, r.Why)
		}
	}
	if c := run.Total; c.Sent == 0 || c.Queued != 0 || c.Dead != c.Refused || !c.Balanced() {
		t.Errorf("counted %+v", c)
	}
	if html, err := os.ReadFile(page); err != nil || !strings.Contains(string(html), "<svg") {
		t.Errorf("the page: %v", err)
	}
	return run
}
