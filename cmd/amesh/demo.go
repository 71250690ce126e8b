package main

import (
	"errors"
	"fmt"
	"os"

	"amesh/testnet"

	"github.com/spf13/cobra"
)

func (a *app) demoCommand() *cobra.Command {
	var file string
	var keep bool
	cmd := &cobra.Command{
		Use:   "demo",
		Short: "Show all of it on this machine, in under a minute",
		Long: `Starts a relay and nodes as processes of their own, in temporary folders and on
free ports of this machine, and shows what they do: two agents find each other, one
asks and the other lets it in, a third is refused; a file travels directly and one
through the relay; messages wait for an agent that is off while the relay is killed
and started again; and what the relay has seen is searched for their words.

With --json it prints one object a step.`,
		Example: "  amesh demo\n  amesh demo --file README.md --json",
		Args:    words(0, 0, ""),
		RunE: func(cmd *cobra.Command, _ []string) error {
			binary, err := os.Executable()
			if err != nil {
				return fmt.Errorf("find this program: %w", err)
			}
			err = testnet.Demo(cmd.Context(), testnet.DemoConfig{
				Binary: binary, File: file, JSON: a.json, Out: a.out, Keep: keep,
			})
			return demoFailure(err)
		},
	}
	cmd.Flags().StringVar(&file, "file", "", "the file that is sent, at most 1 MiB (default README.md)")
	cmd.Flags().BoolVar(&keep, "keep", false, "keep the temporary folders")
	return cmd
}

// demoFailure names the step that failed. With --json the step's own line has
// said so on standard output.
func demoFailure(err error) error {
	step, ok := errors.AsType[*testnet.StepError](err)
	if !ok {
		return err
	}
	return &failure{exit: exitFailed, code: "step_failed", shown: true,
		message: fmt.Sprintf("step %q: %v", step.Step, step.Err),
		hint:    "run it again with --keep, and look at the logs in the folders it names"}
}
