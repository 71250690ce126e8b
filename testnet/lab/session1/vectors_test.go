package session1_test

import (
	"os/exec"
	"testing"
)

// The second implementation gives the known answers in docs/protocol/vectors.
func TestWithPythonVectors(t *testing.T) {
	needsPython(t)
	out, err := exec.Command(interpreter, "-B", reference+"vectors.py").CombinedOutput()
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	t.Logf("%s", out)
}
