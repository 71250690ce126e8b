package main

import (
	"fmt"
	"io"
	"os"
	"time"
	"unicode/utf8"

	"amesh/node/api"

	"github.com/spf13/cobra"
)

type readOptions struct {
	output string
	raw    bool
	lease  span
}

func (a *app) readCommand() *cobra.Command {
	o := readOptions{lease: span(time.Minute)}
	cmd := &cobra.Command{
		Use:   "read ID",
		Short: "Read a message",
		Long: `Prints a message: a block of headers, an empty line, the body. On a terminal the
body's control and invisible characters are shown escaped, because it is a
stranger's text; into a pipe or a file it goes as it came.

Reading leases the message: the sender sees "leased", and nobody else is given it
until the lease ends. "amesh done" says that the work on it is done.`,
		Example: `  amesh read 01973c1e-5b0e-7c3e-9d0e-8a1f5c2b7d44
  amesh read 01973c1e-5b0e-7c3e-9d0e-8a1f5c2b7d44 --output flights.json`,
		Args: oneID("the message's ID"),
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.ask(func(n api.Backend) error {
				m, err := n.Read(cmd.Context(), a.agent, args[0], time.Duration(o.lease))
				if err != nil {
					return err
				}
				return a.showMessage(m, o)
			})
		},
	}
	f := cmd.Flags()
	f.StringVar(&o.output, "output", "", "write the body to this file")
	f.BoolVar(&o.raw, "raw", false, "print only the body, as it came")
	f.Var(&o.lease, "lease", "how long nobody else is given the message; 0s: do not lease it")
	return cmd
}

// opened is what read says with --json. Text is there when the body is text, to
// save its readers the base64.
type opened struct {
	api.InboxMessage
	Text   *string `json:"text,omitempty"`
	Output string  `json:"output,omitempty"`
}

func (a *app) showMessage(m api.InboxMessage, o readOptions) error {
	data := opened{InboxMessage: m, Output: o.output}
	if o.output != "" {
		if err := os.WriteFile(o.output, m.Body, 0o600); err != nil {
			return fmt.Errorf("write the body: %w", err)
		}
	} else if utf8.Valid(m.Body) {
		text := string(m.Body)
		data.Text = &text
	}
	if a.json {
		return a.show(data, nil)
	}
	if !o.raw {
		writeHeaders(a.out, m.InboxItem)
	}
	if o.output != "" {
		return nil
	}
	return a.writeBody(m.Body, o.raw)
}

// writeHeaders escapes everything the sender chose.
func writeHeaders(w io.Writer, m api.InboxItem) {
	header := func(name, value string) {
		if value != "" {
			fmt.Fprintf(w, "%s: %s\n", name, plain(value))
		}
	}
	header("id", m.ID)
	header("from", m.From.String())
	header("intent", m.Intent)
	header("sent", m.SentAt.Local().Format(time.RFC3339))
	header("received", m.ReceivedAt.Local().Format(time.RFC3339)+", "+string(m.Path))
	if m.Mode == accountable {
		header("mode", m.Mode+", signed by its sender: with --json there is the proof")
	}
	header("thread", m.Thread)
	header("reply-to", m.ReplyTo)
	header("type", m.ContentType)
	header("file", m.FileName)
	header("sha256", m.SHA256)
	if m.GapBefore > 0 {
		header("gap", count(int(m.GapBefore), "message")+" before this one never came")
	}
	if m.Late {
		header("late", "came after it had been given up")
	}
}

func (a *app) writeBody(body []byte, raw bool) error {
	if !raw {
		if _, err := io.WriteString(a.out, "\n"); err != nil {
			return fmt.Errorf("print: %w", err)
		}
	}
	if a.tty && !raw {
		body = []byte(plainLines(string(body)))
		if len(body) > 0 && body[len(body)-1] != '\n' {
			body = append(body, '\n')
		}
	}
	if _, err := a.out.Write(body); err != nil {
		return fmt.Errorf("print: %w", err)
	}
	return nil
}
