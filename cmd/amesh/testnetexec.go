package main

import (
	"errors"
	"fmt"
	"os/exec"

	"amesh/testnet/compose"
	"amesh/testnet/stage"

	"github.com/spf13/cobra"
)

func (a *app) testnetExecCommand() *cobra.Command {
	cmd := a.dockerVerb(&cobra.Command{
		Use:   "exec NODE VERB [ARGUMENT...]",
		Short: "Run a verb at a node of a testnet",
		Long: `Runs amesh in the container of a node, as its owner. Flags of the verb stand behind
two dashes. The other nodes are known by their names.`,
		Example: `  amesh testnet exec n1 status
  amesh testnet exec n1 -- send n2 hello --timeout 5s`,
		Args: words(2, 1<<10, "the name of a node, and a verb"),
	}, func(cmd *cobra.Command, on *stage.Docker, _ string, args []string) error {
		if _, ok := on.Plan().Node(args[0]); !ok {
			return fmt.Errorf("%w: %s; there are %s", stage.ErrUnknown, args[0], on.Plan().Names())
		}
		if err := on.Running(cmd.Context(), args[0]); err != nil {
			return err
		}
		command := append([]string{"exec", "-i", compose.Container(on.Plan(), args[0]), "/amesh"}, args[1:]...)
		child := exec.CommandContext(cmd.Context(), "docker", command...)
		child.Stdin, child.Stdout, child.Stderr = a.in, a.out, a.err
		err := child.Run()
		if exit, ok := errors.AsType[*exec.ExitError](err); ok {
			return &failure{exit: exit.ExitCode(), code: "failed", shown: true, message: fmt.Sprintf("%s: exit code %d", args[0], exit.ExitCode())}
		}
		return err
	})
	return cmd
}
