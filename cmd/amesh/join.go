package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"amesh/identity"
	"amesh/node/api"

	"github.com/spf13/cobra"
)

// joinRound is how long one question to the node waits, where --wait has no end.
const joinRound = 10 * time.Minute

// maxInvite is how much of standard input is read for an invite, in bytes: a QR code may
// be copied along.
const maxInvite = 64 << 10

// longestContact is how long the name of a contact may be, in letters.
const longestContact = 64

func (a *app) joinCommand() *cobra.Command {
	var name string
	var patient bool
	timeout := span(20 * time.Second)
	cmd := &cobra.Command{
		Use:   "join STRING|-",
		Short: "Become a contact of whoever made an invite",
		Long: `Uses an invite that somebody made with "amesh invite" and handed to you, as an argument
or on standard input (-), where no other user of this machine sees it. Line breaks and
what stands around the string do no harm. Your agent finds the inviter by the relay in
the invite, asks to be let in, and lets the inviter answer; then both are contacts.

The exit code is 0 when you are in, also when you were before; 4 for an invite that
has expired, 5 when the inviter refused, 8 when there is no answer yet. An invite that was
used up or revoked lets nobody in: the inviter's owner is asked instead (8), or nobody
is, where the owner refuses all strangers (5). Another invite takes its place at once.
Your node goes on asking until the invite expires; the same command again shows what
came of it.`,
		Example: "  amesh join amesh1qx9g3c7awsylr90a2tdj6096t4ev5ecfhuwegysm7d6gsqd5pah4c --name travel-bot\n" +
			"  amesh join - --wait",
		Args: withID("an invite", words(1, 200, "an invite")),
		RunE: func(cmd *cobra.Command, args []string) error {
			r := api.JoinRequest{Name: name, Patient: patient, TimeoutMS: time.Duration(timeout).Milliseconds()}
			if f := atMost("--name", name, longestContact); f != nil {
				return withUsage(cmd, f)
			}
			if r.TimeoutMS < 0 {
				return withUsage(cmd, usagef("--timeout %s: want no less than 0s", time.Duration(timeout)))
			}
			r.Invite = strings.Join(args, " ") // broken into lines by whatever it came through
			if r.Invite == "-" {
				text, err := io.ReadAll(io.LimitReader(a.in, maxInvite))
				if err != nil {
					return fmt.Errorf("read standard input: %w", err)
				}
				r.Invite = string(text)
			}
			if r.Invite = identity.InviteAround(r.Invite); r.Invite == "" {
				return withUsage(cmd, usagef("not an invite: an invite begins with amesh1").next("copy all of what amesh invite printed on the other side"))
			}
			return a.ask(func(n api.Backend) error {
				j, err := joinBy(cmd.Context(), n, a.agent, r)
				if errors.Is(err, context.Canceled) {
					return &failure{exit: exitInterrupted, code: "interrupted", message: "not waiting any more",
						hint: "your node goes on asking until the invite expires; the same command again shows what came of it"}
				}
				if err != nil {
					return err
				}
				return a.showJoin(j)
			})
		},
	}
	f := cmd.Flags()
	f.StringVar(&name, "name", "", "what to call the contact here (default what it calls itself, if that is free)")
	f.Var(&timeout, "timeout", "how long to wait for the answer")
	f.BoolVar(&patient, "wait", false, "wait until there is an answer, also one of the inviter's owner, however long it takes")
	return cmd
}

// joinBy asks the node, with --wait again and again.
func joinBy(ctx context.Context, n api.Backend, agent string, r api.JoinRequest) (api.Join, error) {
	if !r.Patient {
		return n.Join(ctx, agent, r)
	}
	r.TimeoutMS = joinRound.Milliseconds()
	for {
		j, err := n.Join(ctx, agent, r)
		if err != nil || j.State != api.JoinWaiting && j.State != api.JoinDeciding {
			return j, err
		}
	}
}

func (a *app) showJoin(j api.Join) error {
	f := joinOutcome(j)
	if f == nil {
		return a.show(j, func(w io.Writer) { writeJoin(w, j) })
	}
	f.data = j
	return f
}

func writeJoin(w io.Writer, j api.Join) {
	fmt.Fprintf(w, "contact  %s  %s\n", calledOr(j.Name, "(no name)"), j.Peer)
	if j.NoName != "" {
		fmt.Fprintf(w, "         %s; name it with: amesh contacts rename %s NAME\n", plain(j.NoName), j.Peer)
	}
	fmt.Fprintf(w, "words    %s\n         compare them with its owner, on another line (amesh contacts verify)\n", plain(strings.Join(j.Words, " ")))
	fmt.Fprintf(w, "knock    accepted (rule: invite/%s)  path: %s\n", plain(j.Invite), j.Path)
	fmt.Fprintf(w, "granted  %s", intentsOf(j.Intents))
	if j.Granted != nil {
		fmt.Fprintf(w, ", until %s", j.Granted.Local().Format(time.DateTime))
	}
	fmt.Fprintln(w)
}

func calledOr(name, none string) string {
	if name == "" {
		return none
	}
	return plain(name)
}

// joinOutcome is nil when we are in.
func joinOutcome(j api.Join) *failure {
	peer := calledOr(j.Name, j.Peer.String())
	goesOn := fmt.Sprintf("your node goes on until %s; the same command again shows what came of it", j.Expires.UTC().Format(time.RFC3339))
	switch j.State {
	case api.JoinAccepted:
		return nil
	case api.JoinRejected:
		return &failure{exit: exitRefused, code: "refused", message: "the inviter refused: the invite may be used up, revoked or expired there",
			hint: "ask its owner for another"}
	case api.JoinExpired:
		return &failure{exit: exitNotFound, code: string(api.CodeExpired), message: "the invite expired before " + peer + " answered",
			hint: "ask its owner for another, and whether its node runs"}
	case api.JoinDeciding:
		return &failure{exit: exitUndelivered, code: "not_there_yet",
			message: "the invite did not open, used up or revoked perhaps; the owner of " + peer + " is being asked", hint: goesOn}
	}
	said := "no answer of " + peer + " yet"
	switch {
	case j.Reason == api.ReasonNoBundle && len(j.Relays) > 0:
		said += fmt.Sprintf("; it is asked by way of %s", plain(strings.Join(j.Relays, ", ")))
	case j.Reason == api.ReasonNoBundle:
		said += "; the invite names no relay, and the agent was not found otherwise"
	}
	return &failure{exit: exitUndelivered, code: "not_there_yet", message: said, hint: goesOn}
}
