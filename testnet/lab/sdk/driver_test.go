package sdk_test

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/exec"
	"testing"
	"time"
)

type object = map[string]any

// language is how a client of one SDK is started, and where it differs.
type language struct {
	name    string
	command []string
	// real says that it is the SDK and not the client that takes its place.
	real bool
	// errorEnds says that the client takes an error frame for the end of its connection.
	errorEnds bool
	// snake says that names are written_so.
	snake bool
	// comesBack says that the client connects again by itself.
	comesBack bool
}

func javaScript(t *testing.T) language {
	t.Helper()
	if os.Getenv("AMESH_WITH_JAVASCRIPT") != "1" {
		t.Skip("needs Node.js 20 or newer; set AMESH_WITH_JAVASCRIPT=1, and AMESH_SDK_JS to the SDK's built folder")
	}
	l := language{name: "JavaScript", errorEnds: true, comesBack: true, real: os.Getenv("AMESH_SDK_JS") != ""}
	// Node.js 20 has its WebSocket behind this flag; newer ones still take it.
	l.command = []string{"node", "--experimental-websocket", "--no-warnings", "driver.mjs"}
	return l
}

func python(t *testing.T) language {
	t.Helper()
	if os.Getenv("AMESH_WITH_PYTHON") != "1" {
		t.Skip("needs Debian's python3-websockets and python3-nacl; set AMESH_WITH_PYTHON=1, and AMESH_SDK_PY to the SDK's folder")
	}
	// Debian's interpreter sees Debian's modules; the first python3 of a PATH need not.
	return language{name: "Python", command: []string{"/usr/bin/python3", "-B", "driver.py"}, real: os.Getenv("AMESH_SDK_PY") != "",
		snake: true}
}

// driver is a client in a process of its own.
type driver struct {
	t    *testing.T
	lang language
	in   io.WriteCloser
	said chan object
	next int
	amid string
	key  string
	// What came while something else was awaited.
	handled, frames, closed []any
}

// start runs a client without connecting it.
func (l language) start(t *testing.T) *driver {
	t.Helper()
	cmd := exec.Command(l.command[0], l.command[1:]...)
	cmd.Env = append(os.Environ(), "HOME="+t.TempDir())
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	var log tail
	cmd.Stderr = &log
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	d := &driver{t: t, lang: l, in: in, said: make(chan object, 10_000)}
	go d.listen(out)
	t.Cleanup(func() {
		_ = in.Close()
		kill := time.AfterFunc(patience, func() { _ = cmd.Process.Kill() })
		defer kill.Stop()
		for range d.said { // until its output ends
		}
		if err := cmd.Wait(); err != nil {
			t.Errorf("%s driver: %v", l.name, err)
		}
		if t.Failed() {
			t.Logf("%s driver said:\n%s", l.name, log)
		}
	})
	return d
}

// join starts a client with an identity of its own and connects it.
func (l language) join(t *testing.T, r *relay) *driver {
	t.Helper()
	d := l.make(t, r)
	d.connect()
	return d
}

// make starts a client that has an identity and no connection yet.
func (l language) make(t *testing.T, r *relay) *driver {
	t.Helper()
	d := l.start(t)
	me := d.do("identity", nil).(object)
	d.amid, d.key = me["amid"].(string), me["key"].(string)
	// A client that comes back in a minute does so after the test.
	d.do("transport", object{"url": r.url, "delay": time.Minute.Milliseconds()})
	return d
}

func (d *driver) connect() {
	d.t.Helper()
	if d.do("connect", nil) != true {
		d.t.Fatalf("the %s client did not connect", d.lang.name)
	}
}

func (d *driver) listen(out io.Reader) {
	defer close(d.said)
	for lines := bufio.NewReader(out); ; {
		line, err := lines.ReadBytes('\n')
		if err != nil {
			return
		}
		var o object
		if err := json.Unmarshal(line, &o); err != nil {
			o = object{"failed": fmt.Sprintf("%v in %q", err, line)}
		}
		d.said <- o
	}
}

// hear takes the next thing the driver says and files it.
func (d *driver) hear(what string) object {
	d.t.Helper()
	select {
	case o, ok := <-d.said:
		if !ok {
			d.t.Fatalf("%s: the %s driver has ended", what, d.lang.name)
		}
		if v, is := o["handled"]; is {
			d.handled = append(d.handled, v)
		} else if v, is := o["frame"]; is {
			d.frames = append(d.frames, v)
		} else if v, is := o["closed"]; is {
			d.closed = append(d.closed, v)
		}
		return o
	case <-time.After(patience):
		d.t.Fatalf("%s: nothing comes from the %s driver", what, d.lang.name)
		return nil
	}
}

// try asks for an operation and returns what it gave, or why it failed.
func (d *driver) try(op string, args object) (any, string) {
	d.t.Helper()
	d.next++
	question := object{"id": d.next, "op": op}
	for name, v := range args {
		question[name] = v
	}
	line, err := json.Marshal(question)
	if err != nil {
		d.t.Fatal(err)
	}
	if _, err := d.in.Write(append(line, '\n')); err != nil {
		d.t.Fatalf("%s: %v", op, err)
	}
	for {
		o := d.hear(op)
		if o["id"] == nil {
			continue
		}
		failed, _ := o["failed"].(string)
		return o["ok"], failed
	}
}

func (d *driver) do(op string, args object) any {
	d.t.Helper()
	v, failed := d.try(op, args)
	if failed != "" {
		d.t.Fatalf("%s %s: %s", d.lang.name, op, failed)
	}
	return v
}

// take waits for the next of a list that hear fills.
func (d *driver) take(what string, list *[]any) any {
	d.t.Helper()
	for len(*list) == 0 {
		d.hear(what)
	}
	v := (*list)[0]
	*list = (*list)[1:]
	return v
}

// want takes what the client's handler is given next and compares what is named.
func (d *driver) want(members object) object {
	d.t.Helper()
	got := d.take("frame", &d.handled).(object)
	for name, v := range members {
		if got[name] != v {
			d.t.Fatalf("the %s client got %v; %s should be %v", d.lang.name, got, name, v)
		}
	}
	return got
}

// wantError takes the next error frame, which the JavaScript SDK gives to nobody.
func (d *driver) wantError(code string) object {
	d.t.Helper()
	for d.lang.errorEnds {
		if got := d.take("error", &d.frames).(object); got["type"] == "error" {
			if got["code"] != code {
				d.t.Fatalf("got %v, want %s", got, code)
			}
			return got
		}
	}
	return d.want(object{"type": "error", "code": code})
}

func (d *driver) send(to, payload, kind string) {
	d.t.Helper()
	if d.do("send", object{"to": to, "payload": payload, "kind": kind}) != true {
		d.t.Fatalf("the %s client did not send", d.lang.name)
	}
}

// leave disconnects and waits for the socket's end: the JavaScript SDK takes that
// for the end of whatever it opened since, and fails on it.
func (d *driver) leave() {
	d.t.Helper()
	d.do("disconnect", nil)
	if d.lang.comesBack {
		// Whose close frame is first is a race between the two sides.
		if code := d.take("close", &d.closed); code != 1000.0 && code != 1005.0 {
			d.t.Errorf("closed with %v", code)
		}
	}
}

func (d *driver) raw(frame string) {
	d.t.Helper()
	d.do("raw", object{"text": frame})
}

// quiet proves that nothing is on its way: frames keep their order.
func (d *driver) quiet() {
	d.t.Helper()
	d.raw(`{"type":"ping","timestamp":"2026-11-20T09:22:47.123456+00:00"}`)
	d.want(object{"type": "pong", "timestamp": "2026-11-20T09:22:47.123456Z"})
}

func (d *driver) state() object {
	d.t.Helper()
	return d.do("state", nil).(object)
}

// tail keeps the end of what a process says.
type tail []byte

func (b *tail) Write(p []byte) (int, error) {
	const most = 4 << 10
	*b = append(*b, p...)
	if len(*b) > most {
		*b = (*b)[len(*b)-most:]
	}
	return len(p), nil
}
