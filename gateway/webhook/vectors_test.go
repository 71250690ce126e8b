package webhook_test

import (
	"bytes"
	"encoding/hex"
	"encoding/json"
	"flag"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"amesh/gateway/webhook"
)

// The vectors in docs/protocol/vectors are made from fixed inputs. After an intended
// change they are written anew as the README beside them says.
var update = flag.Bool("update", false, "write this package's file in docs/protocol/vectors anew")

const (
	vectorFile = "../../docs/protocol/vectors/webhooks.json"
	textFile   = "../../docs/protocol/amtp-webhooks.md"
)

// vector is one push as it arrives, and whether it is taken.
type vector struct {
	Name      string `json:"name"`
	Secret    string `json:"secret"`
	ID        string `json:"delivery_id"`
	Timestamp string `json:"timestamp"`
	Signature string `json:"signature"`
	Body      string `json:"body"` // hex
	Now       int64  `json:"now"`
	Verified  bool   `json:"verified"`
}

func vectors() []vector {
	const (
		secret = "whsec_q3Jt0xv8m1y5Zc7d9fGh2KLpRsTuVwXyZaBcDeFgHiJ"
		at     = 1763629200
	)
	id := id + "/pusher@north.test"
	body := `{"message_id":"` + id[:36] + `","payload":{"sku":"W-1","note":"größer"}}`
	right := webhook.Sign([]byte(secret), id, time.Unix(at, 0), []byte(body))
	plain := vector{Secret: secret, ID: id, Timestamp: "1763629200", Signature: right, Body: hex.EncodeToString([]byte(body)), Now: at}
	var all []vector
	add := func(name string, verified bool, change func(*vector)) {
		v := plain
		v.Name, v.Verified = name, verified
		change(&v)
		all = append(all, v)
	}
	add("as sent", true, func(*vector) {})
	add("an empty body", true, func(v *vector) {
		v.Body, v.Signature = "", webhook.Sign([]byte(secret), id, time.Unix(at, 0), nil)
	})
	add("a body that is no text", true, func(v *vector) {
		v.Body, v.Signature = "00ff0a2c", webhook.Sign([]byte(secret), id, time.Unix(at, 0), []byte{0, 0xff, '\n', ','})
	})
	add("the clock is 300 s ahead", true, func(v *vector) { v.Now += 300 })
	add("the clock is 300 s behind", true, func(v *vector) { v.Now -= 300 })
	add("two signatures, the second fits", true, func(v *vector) { v.Signature = "v1=" + strings.Repeat("0", 64) + ", " + right })
	add("a signature of another scheme beside it", true, func(v *vector) { v.Signature = right + ",v2=abc" })
	add("301 s old", false, func(v *vector) { v.Now += 301 })
	add("301 s early", false, func(v *vector) { v.Now -= 301 })
	add("a year old", false, func(v *vector) { v.Now += 365 * 86400 })
	add("another secret", false, func(v *vector) { v.Secret = "whsec_other" })
	add("a byte of the body changed", false, func(v *vector) { v.Body = "7a" + v.Body[2:] })
	add("a byte behind the body", false, func(v *vector) { v.Body += "0a" })
	add("another id", false, func(v *vector) { v.ID = strings.Replace(id, "pusher", "pushed", 1) })
	add("another time", false, func(v *vector) { v.Timestamp = "1763629201" })
	add("the dot moved", false, func(v *vector) { v.ID, v.Timestamp = id+".1", "763629200"; v.Now = 763629200 })
	add("no id", false, func(v *vector) {
		v.ID, v.Signature = "", webhook.Sign([]byte(secret), "", time.Unix(at, 0), []byte(body))
	})
	for name, text := range map[string]string{
		"no time": "", "a time with a sign": "+1763629200", "a time with a zero in front": "01763629200", "a time with a fraction": "1763629200.0",
		"a time with a space": " 1763629200", "a time with a line feed": "1763629200\n", "a time in milliseconds and more": "1763629200000000",
		"a time in other digits": "１７６３６２９２００", "a time in words": "now",
	} {
		add(name, false, func(v *vector) { v.Timestamp = text })
	}
	for name, text := range map[string]string{
		"no signature": "", "only the scheme": "v1=", "without its scheme": strings.TrimPrefix(right, "v1="),
		"in upper case": "v1=" + strings.ToUpper(right[3:]), "cut off": right[:66], "longer": right + "00", "another scheme": "v0=" + right[3:],
	} {
		add("signature: "+name, false, func(v *vector) { v.Signature = text })
	}
	slices.SortFunc(all, func(a, b vector) int { return strings.Compare(a.Name, b.Name) })
	return all
}

type vectorSet struct {
	About   string   `json:"about"`
	Made    string   `json:"made"`
	Vectors []vector `json:"vectors"`
}

func TestVectors(t *testing.T) {
	made, err := json.MarshalIndent(vectorSet{
		About:   "pushes to an agent's URL, and whether their receiver takes them (amtp-webhooks.md)",
		Made:    "gateway/webhook",
		Vectors: vectors(),
	}, "", "  ")
	if err != nil {
		t.Fatal(err)
	}
	made = append(made, '\n')
	if *update {
		if err := os.WriteFile(vectorFile, made, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	kept, err := os.ReadFile(vectorFile)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(kept, made) {
		t.Errorf("%s is not what the code makes: %s", vectorFile, cmp.Diff(string(kept), string(made)))
	}
}

// T83: what is forged, changed or of another time is refused, whatever it looks like.
func TestT83Verify(t *testing.T) {
	t.Parallel()
	for _, v := range vectors() {
		body, err := hex.DecodeString(v.Body)
		if err != nil {
			t.Fatal(err)
		}
		h := http.Header{}
		h.Set(webhook.HeaderID, v.ID)
		h.Set(webhook.HeaderTimestamp, v.Timestamp)
		h.Set(webhook.HeaderSignature, v.Signature)
		if err := webhook.Verify([]byte(v.Secret), h, body, time.Unix(v.Now, 0)); (err == nil) != v.Verified {
			t.Errorf("%s: %v", v.Name, err)
		}
	}
}

// verifier takes the code of one language out of the text, as a reader would.
func verifier(t *testing.T, language string) string {
	t.Helper()
	text, err := os.ReadFile(textFile)
	if err != nil {
		t.Fatal(err)
	}
	_, code, ok := strings.Cut(string(text), "```"+language+"\n")
	code, _, closed := strings.Cut(code, "```\n")
	if !ok || !closed {
		t.Fatalf("%s has no %s", textFile, language)
	}
	return code
}

// judge runs a program that reads the vectors and prints a line of 0s and 1s.
func judge(t *testing.T, dir string, command ...string) {
	t.Helper()
	file, err := filepath.Abs(vectorFile)
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), command[0], append(command[1:], file)...)
	cmd.Dir, cmd.Stderr = dir, os.Stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatal(err)
	}
	all := vectors()
	got := strings.TrimSpace(string(out))
	if len(got) != len(all) {
		t.Fatalf("%d answers to %d vectors: %q", len(got), len(all), got)
	}
	for i, v := range all {
		if (got[i] == '1') != v.Verified {
			t.Errorf("%s: %c", v.Name, got[i])
		}
	}
}

func write(t *testing.T, dir, name, text string) {
	t.Helper()
	if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
}

func TestVerifierOfTheTextInGo(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	write(t, dir, "go.mod", "module verifier\n")
	write(t, dir, "verifier.go", verifier(t, "go"))
	write(t, dir, "main.go", `package main

import (
	"encoding/hex"
	"encoding/json"
	"fmt"
	"os"
)

func main() {
	text, _ := os.ReadFile(os.Args[1])
	var set struct {
		Vectors []struct {
			Secret, Timestamp, Signature, Body string
			ID string `+"`json:\"delivery_id\"`"+`
			Now int64
		}
	}
	if err := json.Unmarshal(text, &set); err != nil {
		panic(err)
	}
	for _, v := range set.Vectors {
		body, _ := hex.DecodeString(v.Body)
		if verified(v.Secret, v.ID, v.Timestamp, v.Signature, body, v.Now) {
			fmt.Print(1)
		} else {
			fmt.Print(0)
		}
	}
}
`)
	judge(t, dir, "go", "run", ".")
}

func TestWithPythonVerifierOfTheText(t *testing.T) {
	if os.Getenv("AMESH_WITH_PYTHON") != "1" {
		t.Skip("needs Python 3; set AMESH_WITH_PYTHON=1")
	}
	dir := t.TempDir()
	write(t, dir, "verifier.py", verifier(t, "python"))
	write(t, dir, "main.py", `
import json, sys
from verifier import verified
for v in json.load(open(sys.argv[1], encoding="utf-8"))["vectors"]:
    print(int(verified(v["secret"], v["delivery_id"], v["timestamp"], v["signature"], bytes.fromhex(v["body"]), v["now"])), end="")
`)
	judge(t, dir, "/usr/bin/python3", "-B", "main.py")
}

func TestWithJavaScriptVerifierOfTheText(t *testing.T) {
	if os.Getenv("AMESH_WITH_JAVASCRIPT") != "1" {
		t.Skip("needs Node.js 20 or newer; set AMESH_WITH_JAVASCRIPT=1")
	}
	dir := t.TempDir()
	write(t, dir, "main.js", verifier(t, "js")+`
let line = "";
for (const v of JSON.parse(require("node:fs").readFileSync(process.argv[2])).vectors)
  line += verified(v.secret, v.delivery_id, v.timestamp, v.signature, Buffer.from(v.body, "hex"), v.now) ? "1" : "0";
console.log(line);
`)
	judge(t, dir, "node", "main.js")
}
