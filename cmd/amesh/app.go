package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"amesh/node"
	"amesh/node/api"

	"github.com/lmittmann/tint"
	"github.com/spf13/cobra"
)

// app is one run of the program: its streams, its environment and the flags that
// every verb has.
type app struct {
	in       io.Reader
	out, err io.Writer
	tty      bool // out is a terminal: what peers wrote is shown escaped
	colour   bool // err is a terminal that likes colours
	getenv   func(string) string
	args     []string

	home, agent, logLevel string
	json                  bool

	verb    string      // the verb that runs; empty if there is none
	backend api.Backend // what the verbs talk to; nil: the node of home
}

// main runs the verb that the arguments name and returns the exit code.
func (a *app) main(ctx context.Context) int {
	a.args = oneDash(a.args)
	a.json = asksForJSON(a.args) // known before flags are parsed, because parsing may fail
	root := a.root()
	root.SetArgs(a.args)
	root.SetIn(a.in)
	root.SetOut(a.out)
	root.SetErr(a.err)
	if cmd, _, err := root.Find(a.args); err == nil {
		a.verb = verbOf(cmd)
	}
	err := root.ExecuteContext(ctx)
	if err == nil {
		return exitOK
	}
	f := explain(err)
	a.report(f)
	return f.exit
}

func asksForJSON(args []string) bool {
	for _, arg := range args {
		switch arg {
		case "--":
			return false
		case "--json", "--json=true":
			return true
		}
	}
	return false
}

func (a *app) root() *cobra.Command {
	root := &cobra.Command{
		Use:   "amesh VERB",
		Short: "An identity, a mailbox and an encrypted line for AI agents",
		Long: `amesh gives an AI agent an identity, a durable mailbox and an end-to-end
encrypted line to other agents. "amesh up" runs the node beside an agent, "amesh
relay" and "amesh registry" what agents share on a server, "amesh gateway" the AMTP
gateway of a domain; "amesh demo" shows the mesh on this machine.

Every verb takes --json. Exit codes: 0 ok, 1 failed, 2 usage, 3 daemon not
running, 4 not found, 5 refused, 6 timeout, 7 not authorised, 8 accepted but not
delivered yet, 9 conflict, 10 degraded, 11 storage failed.`,
		Example:           "  amesh demo\n  amesh up --name travel-bot\n  amesh help send",
		Version:           version,
		SilenceErrors:     true,
		SilenceUsage:      true,
		CompletionOptions: cobra.CompletionOptions{DisableDefaultCmd: true},
		Args:              verbs,
		RunE:              func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
		PersistentPreRunE: a.prepare,
	}
	f := root.PersistentFlags()
	f.StringVar(&a.home, "home", "", "state folder (default ~/.agentmesh)")
	f.StringVar(&a.agent, "agent", "", "which agent of the node, where it has several")
	f.BoolVar(&a.json, "json", a.json, "print one JSON object")
	f.StringVar(&a.logLevel, "log-level", "info", "debug, info, warn or error")
	root.SetFlagErrorFunc(a.flagError)
	root.SetHelpCommand(helpCommand())
	root.AddCommand(
		a.upCommand(), a.relayCommand(), a.registryCommand(), a.gatewayCommand(), a.demoCommand(),
		a.idCommand(), a.statusCommand(), a.peersCommand(), a.contactsCommand(), a.searchCommand(), a.lookupCommand(),
		a.whyCommand(), a.pingCommand(), a.netcheckCommand(), a.doctorCommand(), a.bugreportCommand(),
		a.sendCommand(), a.cancelCommand(), a.inboxCommand(), a.readCommand(), a.doneCommand(), a.replyCommand(),
		a.inviteCommand(), a.joinCommand(), a.knocksCommand(), a.sessionsCommand(), a.killCommand(), a.blockCommand(), a.unblockCommand(), a.policyCommand(), a.agentCommand(), a.keyCommand(),
		a.backupCommand(), a.restoreCommand(), a.testnetCommand(), a.versionCommand(),
	)
	return root
}

// prepare runs before every verb: it finds the home and fills in the flags that
// were not given.
func (a *app) prepare(cmd *cobra.Command, _ []string) error {
	if err := a.findHome(); err != nil {
		return err
	}
	err := a.configure(cmd)
	if _, tolerant := cmd.Annotations[anyConfig]; tolerant {
		return nil
	}
	return err
}

// verbOf is the word after "amesh".
func verbOf(cmd *cobra.Command) string {
	for cmd.HasParent() && cmd.Parent().HasParent() {
		cmd = cmd.Parent()
	}
	if !cmd.HasParent() {
		return ""
	}
	return cmd.Name()
}

func (a *app) findHome() error {
	if a.home == "" {
		a.home = a.getenv("AMESH_HOME")
	}
	if a.home == "" {
		user := a.getenv("HOME")
		if user == "" {
			return usagef("no home folder: neither --home nor AMESH_HOME nor HOME is set")
		}
		a.home = filepath.Join(user, ".agentmesh")
	}
	abs, err := filepath.Abs(a.home)
	if err != nil {
		return fmt.Errorf("home: %w", err)
	}
	a.home = abs
	return nil
}

// node is the node that the verbs of this run talk to.
func (a *app) node() (api.Backend, error) {
	if a.backend != nil {
		return a.backend, nil
	}
	cfg, err := api.Discover(a.home)
	if err != nil {
		return nil, err
	}
	token, err := a.token()
	if err != nil {
		return nil, err
	}
	if token != "" {
		// An agent that was given a token need not be able to reach the socket.
		cfg.Socket, cfg.Token = "", token
		if addr := a.getenv("AMESH_API"); addr != "" {
			cfg.URL = "http://" + hostPort(addr)
		}
		if cfg.URL == "" {
			cfg.URL = "http://127.0.0.1:7777"
		}
	} else if err := a.checkSocket(cfg.Socket); err != nil {
		return nil, err
	}
	cfg.Agent = a.agent
	return api.NewClient(cfg), nil
}

// longestSocket is the longest path of a socket that a node makes, in bytes. With a
// longer one, the node puts it elsewhere and says where as long as it runs.
const longestSocket = 100

func (a *app) checkSocket(path string) error {
	switch {
	case len(path) <= longestSocket:
		return nil
	case a.getenv("XDG_RUNTIME_DIR") != "":
		return api.Problemf(http.StatusServiceUnavailable, api.CodeUnreachable, "no node runs on %s", a.home).
			WithHint("start it with `amesh up`")
	}
	return fmt.Errorf("%w: %s has %d bytes, at most %d", node.ErrSocketPath, path, len(path), longestSocket)
}

// token is AMESH_TOKEN, or the content of the file that AMESH_TOKEN_FILE names.
func (a *app) token() (string, error) {
	if t := a.getenv("AMESH_TOKEN"); t != "" {
		return t, nil
	}
	path := a.getenv("AMESH_TOKEN_FILE")
	if path == "" {
		return "", nil
	}
	b, err := os.ReadFile(path)
	if err != nil {
		return "", fmt.Errorf("AMESH_TOKEN_FILE: %w", err)
	}
	return strings.TrimSpace(string(b)), nil
}

// hostPort takes the scheme off an address, so that AMESH_API may be written
// either way.
func hostPort(addr string) string {
	return strings.TrimSuffix(strings.TrimPrefix(addr, "http://"), "/")
}

// logger writes to standard error: for people on a terminal, for programs elsewhere.
func (a *app) logger() (*slog.Logger, error) {
	var level slog.Level
	if err := level.UnmarshalText([]byte(a.logLevel)); err != nil {
		return nil, usagef("log level %q: want debug, info, warn or error", a.logLevel).
			next("name one of these with --log-level, AMESH_LOG_LEVEL or log_level in %s", configFile)
	}
	if a.colour {
		return slog.New(tint.NewTextHandler(a.err, &tint.Options{Level: level, TimeFormat: time.TimeOnly})), nil
	}
	return slog.New(slog.NewTextHandler(a.err, &slog.HandlerOptions{Level: level})), nil
}

// answer is the one object that a verb prints with --json.
type answer struct {
	Schema string `json:"schema"`
	OK     bool   `json:"ok"`
	Data   any    `json:"data,omitempty"`
	Error  *fault `json:"error,omitempty"`
}

// fault is the error in it.
type fault struct {
	Code    string `json:"code"`
	Message string `json:"message"`
	Hint    string `json:"hint,omitempty"`
	Rule    string `json:"rule,omitempty"`
}

// show prints what a verb found: data with --json, else what human writes.
func (a *app) show(data any, human func(w io.Writer)) error {
	if a.json {
		return a.printJSON(answer{Schema: a.schema(), OK: true, Data: data})
	}
	human(a.out)
	return nil
}

func (a *app) schema() string {
	if a.verb == "" {
		return "amesh.error/1"
	}
	return "amesh." + a.verb + "/1"
}

func (a *app) printJSON(v answer) error {
	b, err := json.Marshal(v)
	if err != nil {
		return fmt.Errorf("print: %w", err)
	}
	if _, err := a.out.Write(append(b, '\n')); err != nil {
		return fmt.Errorf("print: %w", err)
	}
	return nil
}

// report says what went wrong: to people on standard error, to programs on
// standard output.
func (a *app) report(f *failure) {
	if a.json && !f.shown {
		err := a.printJSON(answer{Schema: a.schema(), Data: f.data,
			Error: &fault{Code: f.code, Message: f.message, Hint: f.hint, Rule: f.rule}})
		if err != nil {
			fmt.Fprintln(a.err, "amesh:", err)
		}
	}
	name := strings.TrimSpace("amesh " + a.verb)
	fmt.Fprintf(a.err, "%s: %s\n", name, plainLines(f.message))
	if f.rule != "" {
		fmt.Fprintf(a.err, "rule: %s\n", plain(f.rule))
	}
	if f.usage != "" {
		fmt.Fprintf(a.err, "usage: %s\n", f.usage)
	}
	if f.hint != "" {
		fmt.Fprintf(a.err, "next: %s\n", plain(f.hint))
	}
}

// ask is the body of the verbs that talk to a node and show the answer.
func (a *app) ask(question func(api.Backend) error) error {
	n, err := a.node()
	if err != nil {
		return err
	}
	return question(n)
}

// closeAll closes what a server has opened, the last first. A listener may have been closed
// by whoever served it.
func closeAll(opened []io.Closer) error {
	var all []error
	for _, c := range slices.Backward(opened) {
		if err := c.Close(); !errors.Is(err, net.ErrClosed) {
			all = append(all, err)
		}
	}
	return errors.Join(all...)
}

// together runs services until ctx ends or one of them returns, and comes back
// when the last is home.
func together(ctx context.Context, services ...func(context.Context) error) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	done := make(chan error, len(services))
	for _, run := range services {
		go func() { done <- run(ctx) }()
	}
	var all []error
	for range services {
		err := <-done
		cancel()
		all = append(all, err)
	}
	return errors.Join(all...)
}
