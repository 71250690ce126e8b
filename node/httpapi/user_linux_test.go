package httpapi

import (
	"context"
	"net"
	"net/http"
	"os"
	"runtime"
	"syscall"
	"testing"

	"amesh/node/api"
)

// T97: another user of the machine finds the socket open, through a mistake with
// modes, and is still not the owner. Only root can play another user.
func TestSocketKnowsOtherUsers(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("needs root to connect as another user")
	}
	h := openHouse(t)
	for path, mode := range map[string]os.FileMode{h.home: 0o755, h.socket: 0o666} {
		if err := os.Chmod(path, mode); err != nil {
			t.Fatal(err)
		}
	}
	transport := &http.Transport{DialContext: func(context.Context, string, string) (net.Conn, error) {
		return dialAs(65534, h.socket)
	}}
	t.Cleanup(transport.CloseIdleConnections)
	web := &http.Client{Transport: transport}
	before := h.node.calls.Load()
	for _, op := range h.operations() {
		for name, token := range map[string]string{"no token": "", "owner's token": "Bearer " + h.tokens["owner"]} {
			got := h.ask(web, op.method, op.pathFor(), sample[op.id].body, "Authorization", token)
			if open := op.id == "livez" || op.id == "readyz"; !open && (got.status != 403 || got.problem.Code != api.CodeForbidden) {
				t.Errorf("%s, %s: %d %s, want 403 %s", op.id, name, got.status, got.problem.Code, api.CodeForbidden)
			}
		}
	}
	if came := h.node.calls.Load() - before; came != 2 { // readyz, twice
		t.Errorf("%d requests came through, want 2", came)
	}
	if got := h.ask(h.raw("socket"), "GET", "/v1/node", ""); got.status != 200 {
		t.Errorf("our own user: %d, want 200", got.status)
	}
}

// dialAs connects as another user. Only its thread changes the user, and the
// thread ends with its goroutine.
func dialAs(uid int, path string) (net.Conn, error) {
	type result struct {
		c   net.Conn
		err error
	}
	got := make(chan result, 1)
	go func() {
		runtime.LockOSThread() // never unlocked
		keep := ^uintptr(0)
		if _, _, errno := syscall.RawSyscall(syscall.SYS_SETRESUID, keep, uintptr(uid), keep); errno != 0 {
			got <- result{nil, errno}
			return
		}
		c, err := net.Dial("unix", path)
		got <- result{c, err}
	}()
	r := <-got
	return r.c, r.err
}
