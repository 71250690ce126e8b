package main

import (
	"bytes"
	"fmt"
	"io"
	"mime"
	"os"
	"path/filepath"
	"strings"
	"time"

	"amesh/internal/content"
	"amesh/node/api"

	"github.com/spf13/cobra"
)

// longestKey is the longest idempotency key in bytes that a node remembers.
const longestKey = 128

// maxBody is the largest message; larger things will travel as attachments.
const maxBody = api.MaxBody

// outgoing are the flags that send and reply share.
type outgoing struct {
	file, intent, thread, via, key, contentType, session string
	wait                                                 string
	timeout, ttl                                         span
}

func (o *outgoing) flags(cmd *cobra.Command) {
	o.timeout = span(2 * time.Second)
	f := cmd.Flags()
	f.StringVar(&o.file, "file", "", "send this file, at most 1 MiB")
	f.StringVar(&o.contentType, "content-type", "", "media type of the body (default by the file's name)")
	f.StringVar(&o.intent, "intent", "", "what it is about, such as travel/flights")
	f.StringVar(&o.wait, "wait", string(api.StateDelivered), "accepted, relayed, delivered, leased or handled")
	f.Var(&o.timeout, "timeout", "how long to wait for that")
	f.Var(&o.ttl, "ttl", "give up delivery after this time (default and maximum 72h)")
	f.StringVar(&o.via, "via", "", "use only this path: direct or relayed")
	f.StringVar(&o.key, "idempotency-key", "", "with the same key the same message is sent only once")
}

func (a *app) sendCommand() *cobra.Command {
	var o outgoing
	cmd := &cobra.Command{
		Use:   "send AMID [TEXT|-]",
		Short: "Send a message to an agent",
		Long: `Sends a text, standard input (-) or a file to the agent with that AMID, DID or
contact's name. The message is on disk before anything else happens, and stays there until the other
side has it, refuses it, or its time is over.

The exit code is 0 when the state asked for with --wait was reached: accepted
(here on disk), relayed (a relay keeps it), delivered (the peer's node has it),
leased (its agent looks at it) or handled (its agent is done). It is 8 when the
message was accepted but is not there in time, and 5 when it was refused.

Messages travel in sessions, which are made as they are needed. --type says what for,
where one must be made: a conversation (the default), a request_response, in which
each side sends one message, or a stream, in which only this side does.`,
		Example: `  amesh send 2wCNe4X9egd7iKnC1T9XBee63MLc "are there seats on Friday?" --intent travel/flights
  amesh send 2wCNe4X9egd7iKnC1T9XBee63MLc --file README.md --wait handled --timeout 1m
  date | amesh send 2wCNe4X9egd7iKnC1T9XBee63MLc - --wait accepted`,
		Args: words(1, 2, "AMID and a text, - or --file"),
		RunE: func(cmd *cobra.Command, args []string) error {
			r, err := a.request(cmd, &o, args[1:])
			if err != nil {
				return err
			}
			if r.To, err = peerArg(args[0]); err != nil {
				return err
			}
			r.Thread, r.Type = o.thread, o.session
			return a.ask(func(n api.Backend) error {
				m, err := n.Send(cmd.Context(), a.agent, r, o.key)
				if err != nil {
					return err
				}
				return a.showSent(m, r.Wait)
			})
		},
	}
	o.flags(cmd)
	cmd.Flags().StringVar(&o.thread, "thread", "", "conversation the message belongs to")
	cmd.Flags().StringVar(&o.session, "type", "", "session to ask for if there is none: request_response, conversation or stream")
	return cmd
}

// request makes what send and reply have in common of flags and text.
func (a *app) request(cmd *cobra.Command, o *outgoing, text []string) (api.SendRequest, error) {
	r := api.SendRequest{Intent: o.intent, Via: o.via, Wait: api.State(o.wait)}
	if f := o.check(); f != nil {
		return r, withUsage(cmd, f)
	}
	if !r.Wait.Waitable() {
		return r, withUsage(cmd, usagef("--wait %s: want accepted, relayed, delivered, leased or handled", o.wait))
	}
	if r.Via != "" && r.Via != "direct" && r.Via != "relayed" {
		return r, withUsage(cmd, usagef("--via %s: want direct or relayed", o.via))
	}
	r.TimeoutMS = time.Duration(o.timeout).Milliseconds()
	if cmd.Flags().Changed("ttl") {
		if r.TTLSeconds = int64(time.Duration(o.ttl).Seconds()); r.TTLSeconds < 1 {
			return r, withUsage(cmd, usagef("--ttl %s: want at least 1s", time.Duration(o.ttl)))
		}
	}
	var err error
	switch {
	case len(text) > 0 && o.file != "":
		return r, withUsage(cmd, usagef("a text and --file: want one of them"))
	case o.file != "":
		r.FileName = filepath.Base(o.file)
		r.ContentType = mime.TypeByExtension(filepath.Ext(o.file))
		r.Body, err = readBodyFile(o.file)
	case len(text) == 0:
		return r, withUsage(cmd, usagef("nothing to send: want a text, - for standard input, or --file"))
	case text[0] == "-":
		r.Body, err = readBody(a.in, "standard input")
	default:
		r.Body, err = readBody(strings.NewReader(text[0]), "the text")
		r.ContentType = "text/plain; charset=utf-8"
	}
	if o.contentType != "" {
		r.ContentType = o.contentType
	}
	return r, err
}

// check looks at the labels of a message, so that what a label may look like is said
// in words and not by the node's encoder.
func (o *outgoing) check() *failure {
	if o.intent != "" && content.CheckIntent(o.intent) != nil {
		return usagef("--intent %q: want lower-case letters, digits, \".\", \"_\" and \"-\" in parts between slashes, at most %d bytes",
			shorten(o.intent), content.MaxIntent).next("write it like travel/flights")
	}
	if _, err := content.ParseSessionType(o.session); o.session != "" && err != nil {
		return usagef("--type %q: want request_response, conversation or stream", shorten(o.session))
	}
	if content.Clean(o.thread, content.MaxThread) != o.thread {
		return usagef("--thread %q: want at most %d bytes of text without control characters", shorten(o.thread), content.MaxThread)
	}
	if content.Clean(o.contentType, content.MaxContentType) != o.contentType {
		return usagef("--content-type %q: want at most %d bytes of text without control characters", shorten(o.contentType), content.MaxContentType)
	}
	if len(o.key) > longestKey || strings.ContainsFunc(o.key, func(r rune) bool { return r <= ' ' || r > '~' }) {
		return usagef("--idempotency-key %q: want at most %d printable ASCII characters without spaces", shorten(o.key), longestKey)
	}
	return nil
}

// shorten keeps an error in one line.
func shorten(s string) string {
	const most = 40
	if len(s) <= most {
		return s
	}
	return content.Clean(s, most) + "…"
}

func readBodyFile(path string) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return readBody(f, path)
}

// readBody reads all of r, but not more than fits into a message.
func readBody(r io.Reader, name string) ([]byte, error) {
	var b bytes.Buffer
	n, err := io.Copy(&b, io.LimitReader(r, maxBody+1))
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", name, err)
	}
	if n > maxBody {
		return nil, usagef("%s is longer than 1 MiB, the most that a message holds", name).
			next("compress it, or send it in pieces under one --thread")
	}
	return b.Bytes(), nil
}

// showSent prints what became of a message and turns it into an exit code.
func (a *app) showSent(m api.Message, want api.State) error {
	f := outcome(m, want)
	if f == nil {
		return a.show(m, func(w io.Writer) { writeSent(w, m) })
	}
	if !a.json {
		writeSent(a.out, m)
	}
	f.data = m
	return f
}

func writeSent(w io.Writer, m api.Message) {
	fmt.Fprintf(w, "%s  %s  %s\n", m.ID, m.State, m.Path)
}

// outcome compares where a message is with where it should be; nil is success.
func outcome(m api.Message, want api.State) *failure {
	switch {
	case m.State == api.StateRefused && m.Reason == api.ReasonBlocked:
		return &failure{exit: exitRefused, code: "blocked", message: m.To.String() + " is blocked here",
			rule: "block", hint: "amesh unblock " + m.To.String()}
	case m.State == api.StateRefused:
		return &failure{exit: exitRefused, code: "refused", message: "refused by " + m.To.String() + why(m),
			hint: "its owner decides who may write, and does not say why not"}
	case m.State == api.StateFailed && want == api.StateHandled:
		return &failure{exit: exitFailed, code: "failed", message: "the peer's agent failed" + why(m)}
	case m.State.Reached(want):
		return nil
	case m.State.Terminal():
		if m.Reason == api.ReasonRevoked {
			return &failure{exit: exitRefused, code: m.Reason, message: "not delivered: the key of one side was revoked",
				hint: "see which, and what took its place, with: amesh contacts, amesh key show"}
		}
		return &failure{exit: exitFailed, code: string(m.State), message: "not delivered: " + string(m.State) + why(m)}
	}
	return &failure{exit: exitUndelivered, code: "not_there_yet", message: pending(m), hint: hintFor(m)}
}

// why is what is known about a state's reason, in brackets.
func why(m api.Message) string {
	all := m.Reason
	if m.Text != "" {
		all = strings.TrimPrefix(all+": "+plain(m.Text), ": ")
	}
	return inBrackets(all)
}

// pending says where a message is that is not yet where it should be.
func pending(m api.Message) string {
	said := "accepted, not delivered yet"
	if m.State == api.StateDelivered || m.State == api.StateLeased {
		said = string(m.State) + ", nothing more yet"
	}
	where := m.Where
	if where == "" {
		where = "this node"
	}
	return fmt.Sprintf("%s: waits at %s until %s; peer %s%s",
		said, where, m.Expires.UTC().Format(time.RFC3339), m.To.Short(), inBrackets(meaning(m)))
}

// meanings are the reasons of waiting in words.
var meanings = map[string]string{
	api.ReasonNoBundle:    "its keys were not found yet: never published, or no DHT server reached",
	api.ReasonKnockSent:   "asked, no answer yet",
	api.ReasonOwner:       "its owner is being asked",
	api.ReasonMailboxFull: "its mailbox at the relay is full",
	api.ReasonGivenUp:     "the relay that had it gave it up; it is sent again",
	api.ReasonWindow:      "too many messages to it are unconfirmed",
	api.ReasonLimits:      "it waits for another session, of which there were many lately",
}

func meaning(m api.Message) string {
	if words, ok := meanings[m.Reason]; ok {
		return words
	}
	if m.Reason != "" {
		return m.Reason
	}
	if m.State == api.StateRelayed {
		return "a relay keeps it, the peer has not come for it"
	}
	return "not reached"
}

func hintFor(m api.Message) string {
	if m.Reason == api.ReasonNoBundle {
		return "check the AMID, and relays and DHT with: amesh status"
	}
	return "nothing to do, it goes out by itself; see how far it is with: amesh status " + m.ID
}
