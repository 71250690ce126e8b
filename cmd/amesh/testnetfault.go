package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"amesh/testnet/stage"

	"github.com/spf13/cobra"
)

// testnetFaults is what a node is to suffer.
type testnetFaults struct {
	Node      string  `json:"node"`
	Partition span    `json:"-"`
	Kill      bool    `json:"killed,omitempty"`
	Start     bool    `json:"started,omitempty"`
	Heal      bool    `json:"healed,omitempty"`
	Loss      float64 `json:"loss_percent,omitempty"`
	Delay     span    `json:"-"`
	// for programs
	Cut     float64 `json:"partition_s,omitempty"`
	DelayMS float64 `json:"delay_ms,omitempty"`
}

func (a *app) testnetFaultCommand() *cobra.Command {
	var f testnetFaults
	cmd := a.dockerVerb(&cobra.Command{
		Use:   "fault NODE",
		Short: "Cut, kill or spoil the line of a node, and heal it",
		Long: `Makes a relay or a node of a testnet suffer. --partition pulls its cable for a time and
puts it back; --kill ends it as a power cut does, until --start. --loss and --delay spoil
the line of a node behind a box, each way, until --heal, which also undoes a partition
that was interrupted.`,
		Example: `  amesh testnet fault n2 --partition 30s
  amesh testnet fault n2 --loss 20 --delay 50ms
  amesh testnet fault n2 --heal
  amesh testnet fault r1 --kill
  amesh testnet fault r1 --start`,
		Args: words(1, 1, "the name of one relay or node"),
	}, func(cmd *cobra.Command, on *stage.Docker, _ string, args []string) error {
		f.Node = args[0]
		if err := f.check(cmd); err != nil {
			return err
		}
		if err := on.Check(cmd.Context()); err != nil {
			return err
		}
		if err := f.inflict(cmd.Context(), on); err != nil {
			return err
		}
		return a.show(f, func(w io.Writer) { fmt.Fprintln(w, f.says()) })
	})
	flags := cmd.Flags()
	flags.Var(&f.Partition, "partition", "off the network for this long")
	flags.BoolVar(&f.Kill, "kill", false, "end it with SIGKILL")
	flags.BoolVar(&f.Start, "start", false, "start it again")
	flags.Float64Var(&f.Loss, "loss", 0, "lose `PERCENT` of the packets, each way")
	flags.Var(&f.Delay, "delay", "delay packets, each way")
	flags.BoolVar(&f.Heal, "heal", false, "put the cable back and make the line a good one")
	return cmd
}

// check refuses what cannot be meant: nothing at all, or several things at a time.
func (f *testnetFaults) check(cmd *cobra.Command) error {
	kinds := 0
	for _, given := range []bool{f.Partition != 0, f.Kill, f.Start, f.Heal, f.Loss != 0 || f.Delay != 0} {
		if given {
			kinds++
		}
	}
	switch {
	case kinds != 1:
		return withUsage(cmd, usagef("want one of --partition, --kill, --start, --heal, or --loss and --delay"))
	case f.Loss < 0 || f.Loss > 100:
		return withUsage(cmd, usagef("--loss %g: want 0 to 100", f.Loss))
	}
	f.Cut, f.DelayMS = time.Duration(f.Partition).Seconds(), float64(time.Duration(f.Delay))/float64(time.Millisecond)
	return nil
}

func (f *testnetFaults) inflict(ctx context.Context, on stage.Stage) error {
	switch {
	case f.Kill:
		return on.Kill(ctx, f.Node)
	case f.Start:
		return on.Start(ctx, f.Node)
	case f.Heal:
		return on.Heal(ctx, f.Node)
	case f.Partition != 0:
		if err := on.Cut(ctx, f.Node); err != nil {
			return err
		}
		rest(ctx, time.Duration(f.Partition))
		// Also when the wait was interrupted: nobody wants a cable lying about.
		healing, cancel := context.WithTimeout(context.WithoutCancel(ctx), healIn)
		defer cancel()
		return errors.Join(on.Heal(healing, f.Node), ctx.Err())
	}
	return on.Impair(ctx, f.Node, stage.Line{Loss: f.Loss, Delay: time.Duration(f.Delay)})
}

// healIn is how long putting a cable back may take.
const healIn = 30 * time.Second

func (f *testnetFaults) says() string {
	switch {
	case f.Kill:
		return fmt.Sprintf("%s is dead; amesh testnet fault %s --start", f.Node, f.Node)
	case f.Start:
		return f.Node + " runs and answers"
	case f.Heal:
		return f.Node + " has a good line"
	case f.Partition != 0:
		return fmt.Sprintf("%s was off the network for %s", f.Node, time.Duration(f.Partition))
	}
	return fmt.Sprintf("%s loses %g %% and is delayed by %s, each way; amesh testnet fault %s --heal", f.Node, f.Loss, time.Duration(f.Delay), f.Node)
}
