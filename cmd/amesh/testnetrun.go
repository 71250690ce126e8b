package main

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"amesh/testnet/scenario"
	"amesh/testnet/stage"

	"github.com/spf13/cobra"
)

type testnetRunOptions struct {
	dir          string
	local, netns bool
	keep         bool
	// report is the page to write; empty: none.
	report string
	wishOptions
}

func (a *app) testnetRunCommand() *cobra.Command {
	var o testnetRunOptions
	cmd := &cobra.Command{
		Use:   "run smoke",
		Short: "Try a testnet: knocks, questions, nodes that are off, dead relays, cut lines",
		Long: `Runs the scenarios of "smoke" one after the other and counts: every message that was
sent must have been handled, be queued, or have ended with a reason, by what the nodes
themselves say. It fails (exit code 1) when one is lost, or handed out twice.

It runs on the testnet of --dir, which must be up. Without Docker it makes one for this
run: with --netns in network namespaces, which needs root and the program ip; with
--local of plain processes, which need no rights, but have no line that could be cut.`,
		Example: "  amesh testnet run smoke\n  amesh testnet run smoke --report report.html\n  amesh testnet run smoke --local --nodes 3 --json\n" +
			"  amesh testnet run smoke --netns --nodes 6 --nat mixed",
		Args: words(1, 1, "the name of a set of scenarios: smoke"),
		RunE: func(cmd *cobra.Command, args []string) error {
			if args[0] != "smoke" {
				return withUsage(cmd, usagef("no scenarios are called %q: want smoke", args[0]))
			}
			if o.local && o.netns {
				return withUsage(cmd, usagef("--local and --netns: want one of them"))
			}
			return testnetFailure(a.testnetRun(cmd.Context(), o))
		},
	}
	dirFlag(cmd, &o.dir)
	o.wishOptions.flags(cmd, 3, "none")
	cmd.Flags().StringVar(&o.report, "report", "", "write a page about it to `FILE`, see report")
	cmd.Flags().BoolVar(&o.local, "local", false, "as plain processes on loopback, for this run only")
	cmd.Flags().BoolVar(&o.netns, "netns", false, "in network namespaces of this machine, for this run only")
	cmd.Flags().BoolVar(&o.keep, "keep", false, "with --local or --netns: keep the folder with homes and logs")
	return cmd
}

func (a *app) testnetRun(ctx context.Context, o testnetRunOptions) (err error) {
	if _, err := os.Stat(filepath.Dir(o.report)); o.report != "" && err != nil {
		return fmt.Errorf("report: %w", err) // now, not after the run
	}
	on, dir, end, err := a.openStage(ctx, o)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, end()) }()
	run, err := scenario.Smoke(ctx, scenario.Config{Stage: on, Limits: scenario.DefaultLimits(), Tell: a.tellScenario})
	if err != nil {
		return err
	}
	if err := keepRun(dir, run); err != nil {
		return err
	}
	if o.report != "" {
		if err := writeReport(o.report, run); err != nil {
			return err
		}
	}
	if !run.Passed {
		return &failure{exit: exitFailed, code: "scenario_failed", message: "failed: " + strings.Join(failedOf(run), ", "), data: run,
			hint: "look at the logs of the nodes; with --local, keep them with --keep"}
	}
	return a.show(run, func(w io.Writer) {
		fmt.Fprintf(w, "%d sent = %d handled + %d queued + %d dead, %d handed out twice; %.1f s\n",
			run.Total.Sent, run.Total.Handled, run.Total.Queued, run.Total.Dead, run.Total.Twice, float64(run.TookMS)/1000)
	})
}

func failedOf(run scenario.Run) []string {
	var names []string
	for _, r := range run.Results {
		if r.Outcome == scenario.Failed {
			names = append(names, r.Name)
		}
	}
	return names
}

// tellScenario shows to people what is going on.
func (a *app) tellScenario(r scenario.Result) {
	if a.json {
		return
	}
	switch {
	case r.Outcome == "":
		fmt.Fprintf(a.out, "%-12s %s\n", r.Name, r.Says)
	case r.Why != "":
		fmt.Fprintf(a.out, "%12s %s: %s\n", "", r.Outcome, plain(r.Why))
	default:
		c := r.Counts
		counted := ""
		if c.Sent > 0 {
			counted = fmt.Sprintf(", %d sent = %d handled + %d queued + %d dead", c.Sent, c.Handled, c.Queued, c.Dead)
		}
		fmt.Fprintf(a.out, "%12s %s in %.1f s%s\n", "", r.Outcome, float64(r.TookMS)/1000, counted)
	}
	for _, note := range r.Notes {
		fmt.Fprintf(a.out, "%12s %s\n", "", plain(note))
	}
}

// openStage finds or makes the testnet to run on, and what has to be done at the end.
func (a *app) openStage(ctx context.Context, o testnetRunOptions) (on stage.Stage, dir string, end func() error, err error) {
	if o.local || o.netns {
		return a.ownStage(ctx, o)
	}
	p, dir, err := readTestnet(o.dir)
	if err != nil {
		return nil, "", nil, err
	}
	d := stage.NewDocker(stage.DockerConfig{Plan: p, Dir: dir, Limits: stage.DefaultLimits()})
	return d, dir, d.Close, d.Check(ctx)
}

// ownStage starts processes for this run, in a folder of their own.
func (a *app) ownStage(ctx context.Context, o testnetRunOptions) (on stage.Stage, dir string, end func() error, err error) {
	p, err := o.wishOptions.plan("amesh-testnet")
	if err != nil {
		return nil, "", nil, err
	}
	if o.netns && os.Geteuid() != 0 {
		return nil, "", nil, &failure{exit: exitUnauthorized, code: "not_root", message: "network namespaces need root",
			hint: "run it as root, or in containers, or with --local"}
	}
	binary, err := os.Executable()
	if err != nil {
		return nil, "", nil, fmt.Errorf("find this program: %w", err)
	}
	dir, err = shortTemp()
	if err != nil {
		return nil, "", nil, err
	}
	remove := func() error {
		if o.keep {
			fmt.Fprintf(a.err, "kept: %s\n", dir)
			return nil
		}
		return os.RemoveAll(dir)
	}
	if err := p.Write(dir, rand.Reader); err != nil {
		return nil, "", nil, errors.Join(err, remove())
	}
	if o.netns {
		on, err = stage.NewNetns(stage.NetnsConfig{Plan: p, Dir: dir, Binary: binary, Limits: stage.DefaultLimits()})
	} else {
		on, err = stage.NewLocal(stage.LocalConfig{Plan: p, Dir: dir, Binary: binary, Limits: stage.DefaultLimits()})
	}
	if err != nil {
		return nil, "", nil, errors.Join(err, remove())
	}
	end = func() error { return errors.Join(on.Close(), remove()) }
	if err := on.Up(ctx); err != nil {
		return nil, "", nil, errors.Join(err, end())
	}
	return on, dir, end, nil
}

// shortTemp makes a temporary folder whose path leaves room for sockets.
func shortTemp() (string, error) {
	const longest = 60
	base := os.TempDir()
	if len(base) > longest {
		base = "/tmp"
	}
	dir, err := os.MkdirTemp(base, "amesh-testnet-")
	if err != nil {
		return "", fmt.Errorf("testnet: %w", err)
	}
	return dir, nil
}
