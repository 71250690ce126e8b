package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"strings"
	"syscall"
	"testing"

	"amesh/identity"
	"amesh/internal/sqldb"
	"amesh/internal/store"
	"amesh/knock"
	"amesh/node"
	"amesh/node/api"
	"amesh/node/httpapi"
	"amesh/relay/mailbox"
)

func TestErrorsAndTheirExitCodes(t *testing.T) {
	wrap := func(err error) error { return fmt.Errorf("open something: %w", err) }
	problem := func(c api.Code) error { return wrap(api.Problemf(400, c, "no")) }
	taken := func() error {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		defer l.Close()
		_, err = net.Listen("tcp", l.Addr().String())
		return err
	}()
	_, noFile := os.Open("there is no such file")
	for _, c := range []struct {
		name string
		err  error
		exit int
		code string
	}{
		{"nothing we know", errors.New("boom"), 1, "failed"},
		{"a flag typed wrong", usagef("unknown flag"), 2, "usage"},
		{"the node does not like the request", problem(api.CodeInvalid), 2, "invalid_request"},
		{"too long a body", problem(api.CodeTooLarge), 2, "too_large"},
		{"no daemon", problem(api.CodeUnreachable), 3, "daemon_not_running"},
		{"no such message", problem(api.CodeNotFound), 4, "not_found"},
		{"the policy says no", problem(api.CodePolicy), 5, "policy_denied"},
		{"time is over", wrap(context.DeadlineExceeded), 6, "timeout"},
		{"no credential", problem(api.CodeUnauthorized), 7, "unauthorized"},
		{"an agent's credential for an owner's verb", problem(api.CodeForbidden), 7, "forbidden"},
		{"wrong host", problem(api.CodeHost), 7, "host_not_allowed"},
		{"wrong origin", problem(api.CodeOrigin), 7, "origin_not_allowed"},
		{"answered already", problem(api.CodeConflict), 9, "conflict"},
		{"too much at once", problem(api.CodeBusy), 1, "busy"},
		{"a fault of the node", problem(api.CodeInternal), 1, "internal"},
		{"a code of a newer node", problem("later"), 1, "later"},
		{"the node's disk fails", problem(api.CodeStorage), 11, "storage_failed"},
		{"second daemon", wrap(node.ErrHomeInUse), 9, "home_in_use"},
		{"an SDK's identity in the home", wrap(node.ErrSDKIdentity), 9, "sdk_identity"},
		{"one identity under two names", wrap(node.ErrIdentityTwice), 9, "identity_twice"},
		{"state without its agent", wrap(node.ErrIdentityLost), 11, "identity_lost"},
		{"state without its key", wrap(node.ErrStateKeyLost), 11, "state_key_lost"},
		{"state torn", wrap(errors.Join(store.ErrDamaged, fs.ErrNotExist)), 11, "state_damaged"},
		{"state key torn", wrap(store.ErrKeyFile), 11, "state_key_damaged"},
		{"API for other machines", wrap(node.ErrNotLoopback), 2, "not_loopback"},
		{"no place for the socket", wrap(node.ErrSocketPath), 2, "socket_path_too_long"},
		{"somebody listens on the socket", wrap(httpapi.ErrSocketInUse), 9, "socket_in_use"},
		{"others enter the socket's folder", wrap(httpapi.ErrSocketFolder), 1, "socket_folder_open"},
		{"no token in its file", wrap(httpapi.ErrTokenFile), 1, "token_file"},
		{"policy that is not understood", wrap(knock.ErrPolicy), 1, "policy_invalid"},
		{"the node's port is taken", wrap(node.ErrAddrInUse), 9, "address_in_use"},
		{"the relay's port is taken", wrap(taken), 9, "address_in_use"},
		{"second relay", wrap(store.ErrLocked), 9, "data_in_use"},
		{"second gateway on one file", wrap(sqldb.ErrInUse), 9, "data_in_use"},
		{"newer state", wrap(store.ErrTooNew), 11, "state_too_new"},
		{"foreign state", wrap(store.ErrSchema), 11, "state_foreign"},
		{"full disk", wrap(store.ErrNoSpace), 11, "no_space"},
		{"full disk under a key file", wrap(errors.Join(&fs.PathError{Op: "write", Path: "x", Err: syscall.ENOSPC}, fs.ErrNotExist)), 11, "no_space"},
		{"quota used up", wrap(syscall.EDQUOT), 11, "no_space"},
		{"failed disk", wrap(store.ErrPoisoned), 11, "storage_failed"},
		{"failed disk under a relay", wrap(mailbox.ErrBroken), 11, "storage_failed"},
		{"a key file that others can read", wrap(identity.ErrKeyPermissions), 1, "key_permissions"},
		{"a state key that others can read", wrap(store.ErrKeyPermissions), 1, "key_permissions"},
		{"key file torn", wrap(identity.ErrKeyFile), 1, "not_a_key_file"},
		{"key file made of two", wrap(identity.ErrMismatch), 1, "key_mismatch"},
		{"address of another machine", wrap(syscall.EADDRNOTAVAIL), 2, "address_not_here"},
		{"read-only file system", wrap(syscall.EROFS), 7, "read_only"},
		{"home below a file", wrap(syscall.ENOTDIR), 2, "not_a_folder"},
		{"file of another user", wrap(fs.ErrPermission), 7, "permission"},
		{"imported twice", wrap(identity.ErrExists), 9, "exists"},
		{"no AMID", wrap(identity.ErrAMID), 2, "not_an_amid"},
		{"no such file", wrap(noFile), 4, "no_such_file"},
		{"Ctrl-C", wrap(context.Canceled), 130, "interrupted"},
	} {
		t.Run(c.name, func(t *testing.T) {
			f := explain(c.err)
			if f.exit != c.exit || f.code != c.code {
				t.Errorf("exit %d, code %q; want %d, %q", f.exit, f.code, c.exit, c.code)
			}
			if f.message != c.err.Error() {
				t.Errorf("message %q, want %q", f.message, c.err)
			}
		})
	}
}

// Every error of ours that ends a start says what to do next.
func TestCausesHaveANextStep(t *testing.T) {
	for _, c := range causes {
		switch c.err {
		case context.Canceled, context.DeadlineExceeded, fs.ErrNotExist, fs.ErrPermission:
			continue // they happen to whatever the message names
		}
		if c.hint == "" {
			t.Errorf("%s: no next step", c.code)
		}
	}
}

func TestProblemsKeepHintAndRule(t *testing.T) {
	p := api.Problemf(403, api.CodePolicy, "not him").WithHint("ask your owner")
	p.Rule = "block"
	f := explain(fmt.Errorf("send: %w", p))
	if f.hint != "ask your owner" || f.rule != "block" {
		t.Errorf("hint %q, rule %q", f.hint, f.rule)
	}
}

// Where a sent message stands decides the exit code (README.md).
func TestOutcomesOfASend(t *testing.T) {
	for _, c := range []struct {
		state  api.State
		reason string
		want   api.State
		exit   int
		says   string
	}{
		{api.StateDelivered, "", api.StateDelivered, 0, ""},
		{api.StateHandled, "", api.StateDelivered, 0, ""},
		{api.StateFailed, "", api.StateDelivered, 0, ""},
		{api.StateFailed, "", api.StateHandled, 1, "failed"},
		{api.StateAccepted, "", api.StateAccepted, 0, ""},
		{api.StateWaiting, api.ReasonKnockSent, api.StateAccepted, 0, ""},
		{api.StateWaiting, api.ReasonNoBundle, api.StateDelivered, 8, "keys were not found"},
		{api.StateWaiting, api.ReasonOwner, api.StateDelivered, 8, "owner is being asked"},
		{api.StateWaiting, "something new", api.StateDelivered, 8, "something new"},
		{api.StateRelayed, "", api.StateDelivered, 8, "waits at ws://relay.example/v1/connect until 2026-11-23T09:14:00Z"},
		{api.StateDelivered, "", api.StateHandled, 8, "delivered, nothing more yet"},
		{api.StateRefused, api.ReasonRejected, api.StateAccepted, 5, "rejected"},
		{api.StateRefused, api.ReasonRejected, api.StateDelivered, 5, "rejected"},
		{api.StateExpired, "", api.StateDelivered, 1, "expired"},
		{api.StateCancelled, "", api.StateDelivered, 1, "cancelled"},
		{api.StateDead, api.ReasonUnconfirmed, api.StateDelivered, 1, "unconfirmed"},
	} {
		t.Run(string(c.state)+" "+c.reason+" for "+string(c.want), func(t *testing.T) {
			m := api.Message{State: c.state, Reason: c.reason, Where: "ws://relay.example/v1/connect", Expires: expires}
			f := outcome(m, c.want)
			if f == nil {
				f = &failure{}
			}
			if f.exit != c.exit || !strings.Contains(f.message, c.says) {
				t.Errorf("exit %d, %q; want %d and %q", f.exit, f.message, c.exit, c.says)
			}
		})
	}
}
