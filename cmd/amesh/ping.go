package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"amesh/identity"
	"amesh/node/api"

	"github.com/spf13/cobra"
)

// How many pings there may be, and how often: a node answers 120 a minute.
const (
	pingsMost   = 10_000
	pingsSpaced = 500 * time.Millisecond
)

type pingOptions struct {
	count             int
	interval, timeout span
	via               string
}

// pings is the data of ping.
type pings struct {
	Peer     identity.AMID `json:"peer"`
	Asked    int           `json:"asked"`
	Answered int           `json:"answered"`
	MinMS    float64       `json:"min_ms,omitempty"`
	AvgMS    float64       `json:"avg_ms,omitempty"`
	MaxMS    float64       `json:"max_ms,omitempty"`
	Path     api.PathKind  `json:"path,omitempty"` // of the last answer
	Via      string        `json:"via,omitempty"`
	Answers  []pinged      `json:"answers"`
}

// pinged is one of them.
type pinged struct {
	RTTMS float64      `json:"rtt_ms,omitempty"`
	Path  api.PathKind `json:"path,omitempty"`
	Via   string       `json:"via,omitempty"`
	Error string       `json:"error,omitempty"`
}

func (a *app) pingCommand() *cobra.Command {
	o := pingOptions{count: 4, interval: span(time.Second), timeout: span(api.PingDefault)}
	cmd := &cobra.Command{
		Use:   "ping PEER",
		Short: "See whether a peer's node answers, by which path, and how fast",
		Long: `Asks the peer's node for an echo, sealed in the session with it, so that nobody else can
answer: whatever carries it, an answer comes from the peer. Each line says by which path
it came. The time has in it what both nodes need to write to disk.

There must be a session: send the peer a message first. The exit code is 0 when an
answer came, 6 when none did, 4 without a session, 5 when the peer refused us.`,
		Example: "  amesh ping 2wCNe4X9egd7iKnC1T9XBee63MLc\n" +
			"  amesh ping travel-bot -c 10 -i 500ms --timeout 2s\n" +
			"  amesh ping travel-bot --via relayed --json",
		Args: oneID("a peer"),
		RunE: func(cmd *cobra.Command, args []string) error {
			if f := o.check(); f != nil {
				return withUsage(cmd, f)
			}
			peer, err := peerArg(args[0])
			if err != nil {
				return err
			}
			return a.ask(func(n api.Backend) error { return a.ping(cmd.Context(), n, peer, o) })
		},
	}
	f := cmd.Flags()
	f.IntVarP(&o.count, "count", "c", o.count, "how often")
	f.VarP(&o.interval, "interval", "i", "time from one to the next, at least 500ms")
	f.Var(&o.timeout, "timeout", "how long to wait for each answer, at most 30s")
	f.StringVar(&o.via, "via", "", "use only this path: direct or relayed (default the best)")
	return cmd
}

func (o pingOptions) check() *failure {
	switch t := time.Duration(o.timeout); {
	case o.count < 1 || o.count > pingsMost:
		return usagef("--count %d: want 1 to %d", o.count, pingsMost)
	case time.Duration(o.interval) < pingsSpaced:
		return usagef("--interval %s: want at least %s", time.Duration(o.interval), pingsSpaced)
	case t < time.Millisecond || t > api.PingMost:
		return usagef("--timeout %s: want 1ms to %s", t, api.PingMost)
	case o.via != "" && o.via != string(api.PathDirect) && o.via != string(api.PathRelayed):
		return usagef("--via %s: want direct or relayed", o.via)
	}
	return nil
}

func (a *app) ping(ctx context.Context, n api.Backend, peer string, o pingOptions) error {
	sum := pings{Answers: []pinged{}}
	var last error
	for sum.Asked < o.count && ctx.Err() == nil {
		begun := time.Now()
		p, err := n.Ping(ctx, a.agent, peer, api.PingRequest{Via: o.via, TimeoutMS: time.Duration(o.timeout).Milliseconds()})
		if ctx.Err() != nil {
			break
		}
		if err != nil && !noAnswer(err) {
			if sum.Answered == 0 {
				return err
			}
			a.pingLine("%v", err)
			last = err
			break
		}
		sum.add(p, err)
		if last = err; err != nil {
			a.pingLine("no answer %d: %v", sum.Asked, err)
		} else {
			a.pingLine("answer %d from %s: %s, %s%s", sum.Asked, p.Peer, spent(p.RTTMS), p.Path, inBrackets(p.Via))
		}
		if sum.Asked < o.count {
			rest(ctx, time.Until(begun.Add(time.Duration(o.interval))))
		}
	}
	switch {
	case sum.Answered > 0:
		return a.show(sum, func(w io.Writer) { writePings(w, sum) })
	case sum.Asked == 0:
		return ctx.Err()
	}
	if !a.json {
		writePings(a.out, sum)
	}
	f := explain(last)
	f.data = sum
	return f
}

// pingLine shows one ping to people as it happens.
func (a *app) pingLine(format string, args ...any) {
	if !a.json {
		fmt.Fprintln(a.out, plain(fmt.Sprintf(format, args...)))
	}
}

// noAnswer reports an error that the next ping need not meet.
func noAnswer(err error) bool {
	p, ok := errors.AsType[*api.Problem](err)
	return ok && p.Code == api.CodeNoAnswer
}

func (s *pings) add(p api.Ping, err error) {
	s.Asked++
	if err != nil {
		s.Answers = append(s.Answers, pinged{Error: err.Error()})
		return
	}
	s.Answers = append(s.Answers, pinged{RTTMS: p.RTTMS, Path: p.Path, Via: p.Via})
	if s.Answered == 0 || p.RTTMS < s.MinMS {
		s.MinMS = p.RTTMS
	}
	s.MaxMS = max(s.MaxMS, p.RTTMS)
	s.AvgMS = (s.AvgMS*float64(s.Answered) + p.RTTMS) / float64(s.Answered+1)
	s.Answered++
	s.Peer, s.Path, s.Via = p.Peer, p.Path, p.Via
}

func writePings(w io.Writer, s pings) {
	fmt.Fprintf(w, "%d asked, %d answered", s.Asked, s.Answered)
	if s.Answered > 0 {
		fmt.Fprintf(w, "; least %s, average %s, most %s", spent(s.MinMS), spent(s.AvgMS), spent(s.MaxMS))
	}
	fmt.Fprintln(w)
}
