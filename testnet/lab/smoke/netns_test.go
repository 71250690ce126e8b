package smoke_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// The same scenarios behind the same boxes, without Docker; nothing of it is left.
func TestWithRootSmokeInNamespaces(t *testing.T) {
	if os.Getenv("AMESH_WITH_ROOT") == "" {
		t.Skip("SKIP: set AMESH_WITH_ROOT=1, as root, for network namespaces")
	}
	binary := filepath.Join(t.TempDir(), "amesh")
	build(t, binary)
	before := namespaces(t)
	run := smoke(t, binary, "--netns", "--nodes", "6", "--relays", "2", "--nat", "mixed")
	for _, n := range run.Picture.Nodes {
		if n.Down || !slices.Equal(n.Relays, []string{"r1", "r2"}) {
			t.Errorf("%s at the end: %+v", n.Name, n)
		}
	}
	for _, space := range namespaces(t) {
		if !slices.Contains(before, space) && strings.Contains(space, "-n1") {
			t.Errorf("namespace %s is left", space)
		}
	}
}

func namespaces(t *testing.T) []string {
	t.Helper()
	out, err := exec.Command("ip", "netns", "list").Output()
	if err != nil {
		t.Fatal(err)
	}
	var all []string
	for line := range strings.Lines(string(out)) {
		if name := strings.Fields(line); len(name) > 0 {
			all = append(all, name[0])
		}
	}
	return all
}
