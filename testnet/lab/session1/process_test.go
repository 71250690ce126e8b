package session1_test

import (
	"bufio"
	"bytes"
	"encoding/hex"
	"encoding/json"
	"io"
	"os"
	"os/exec"
	"testing"
)

const (
	// interpreter is Debian's, which sees Debian's modules; the first python3 of a
	// PATH need not.
	interpreter = "/usr/bin/python3"
	reference   = "../../../docs/protocol/reference/"
)

func needsPython(t *testing.T) {
	t.Helper()
	if os.Getenv("AMESH_WITH_PYTHON") != "1" {
		t.Skip("needs Debian's python3-cryptography and python3-nacl; set AMESH_WITH_PYTHON=1")
	}
}

// python is the second implementation in a process of its own. See the comment
// of driver.py for what it is asked.
type python struct {
	t   *testing.T
	in  io.Writer
	out *bufio.Reader
}

func startPython(t *testing.T) *python {
	t.Helper()
	cmd := exec.Command(interpreter, "-B", reference+"driver.py")
	cmd.Stderr = os.Stderr
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		in.Close()
		if err := cmd.Wait(); err != nil {
			t.Errorf("%s: %v", interpreter, err)
		}
	})
	return &python{t: t, in: in, out: bufio.NewReader(out)}
}

// args are the named arguments of an operation; byte strings are hex.
type args map[string]any

// reply is what the driver says to one question.
type reply struct {
	OK      any    `json:"ok"`
	Refused string `json:"refused"` // a code of session.md §13
	Why     string `json:"why"`
	Changed bool   `json:"changed"` // although refused
}

// try asks for an operation that may be refused.
func (p *python) try(op string, a args) reply {
	p.t.Helper()
	question := args{"op": op}
	for name, v := range a {
		question[name] = v
	}
	line, err := json.Marshal(question)
	if err != nil {
		p.t.Fatal(err)
	}
	if _, err := p.in.Write(append(line, '\n')); err != nil {
		p.t.Fatalf("python %s: %v", op, err)
	}
	if line, err = p.out.ReadBytes('\n'); err != nil {
		p.t.Fatalf("python %s: no answer: %v", op, err)
	}
	var r reply
	decode(p.t, line, &r)
	return r
}

// do asks for an operation that must succeed.
func (p *python) do(op string, a args) any {
	p.t.Helper()
	r := p.try(op, a)
	if r.Refused != "" {
		p.t.Fatalf("python %s: %s", op, r.Why)
	}
	return r.OK
}

// decode reads JSON without losing digits of a u64.
func decode(t *testing.T, raw []byte, into any) {
	t.Helper()
	d := json.NewDecoder(bytes.NewReader(raw))
	d.UseNumber()
	if err := d.Decode(into); err != nil {
		t.Fatalf("%v in %.200s", err, raw)
	}
}

// field is a byte string of an object that the driver gave.
func (p *python) field(object any, name string) []byte {
	p.t.Helper()
	text, ok := object.(map[string]any)[name].(string)
	if !ok {
		p.t.Fatalf("no field %s in %v", name, object)
	}
	return p.bytes(text)
}

func (p *python) bytes(text any) []byte {
	p.t.Helper()
	b, err := hex.DecodeString(text.(string))
	if err != nil {
		p.t.Fatal(err)
	}
	return b
}

func hexed(b []byte) string { return hex.EncodeToString(b) }
