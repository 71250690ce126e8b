package main

import (
	"errors"
	"fmt"
	"os/exec"
	"path/filepath"
	"strings"

	"amesh/node/api"
	"amesh/testnet/compose"
	"amesh/testnet/plan"
	"amesh/testnet/stage"

	"github.com/spf13/cobra"
)

func (a *app) testnetCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "testnet VERB",
		Short: "Try a mesh behind real address translators, on one machine",
		Long: `Makes a testnet of relays and nodes on this machine, each in a container of its own,
behind boxes that translate addresses, block UDP, lose or delay packets; kills, cuts
and heals them; and counts whether any message was lost.

"init" writes a compose file into a folder; "docker compose up -d" there, or "amesh
testnet up", starts it. The image is made of this program alone, nothing is pulled.`,
		Example: `  amesh testnet init --nodes 6 --relays 2 --nat mixed
  amesh testnet up
  amesh testnet status
  amesh testnet run smoke --report report.html
  amesh testnet fault n2 --partition 30s
  amesh testnet down`,
		Args: verbs,
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.AddCommand(a.testnetInitCommand(), a.testnetUpCommand(), a.testnetDownCommand(), a.testnetStatusCommand(),
		a.testnetRunCommand(), a.testnetFaultCommand(), a.testnetReportCommand(), a.testnetExecCommand(),
		a.natboxCommand(), a.testnetBoxCommand(), a.testnetPipeCommand())
	return cmd
}

// testnetDir is where a testnet is without --dir.
const testnetDir = "amesh-testnet"

func dirFlag(cmd *cobra.Command, dir *string) {
	cmd.Flags().StringVar(dir, "dir", testnetDir, "folder `DIR` of the testnet")
}

// readTestnet reads the plan of a folder, whose path comes back absolute.
func readTestnet(dir string) (*plan.Plan, string, error) {
	abs, err := filepath.Abs(dir)
	if err != nil {
		return nil, "", fmt.Errorf("testnet: %w", err)
	}
	p, err := plan.Read(abs)
	return p, abs, err
}

// testnetFailures is how the errors of testnets end.
var testnetFailures = []struct {
	err  error
	exit int
	code string
	hint string
}{
	{plan.ErrNone, exitNotFound, "no_testnet", "amesh testnet init makes one; name its folder with --dir"},
	{plan.ErrThere, exitConflict, "testnet_exists", "amesh testnet down --remove takes it away; or give another --dir"},
	{plan.ErrOccupied, exitConflict, "folder_not_empty", "give another --dir: a testnet has a folder of its own"},
	{compose.ErrBinary, exitFailed, "binary_not_static", "name a static one for Linux with --binary; make build makes one"},
	{stage.ErrUnknown, exitNotFound, "no_such_node", "amesh testnet status lists them"},
	{stage.ErrNoDocker, exitFailed, "no_docker", "install and start Docker's engine (docker.io) with docker compose or docker-compose, and be in the group docker; run smoke --local needs nothing"},
	{stage.ErrDown, exitDaemon, "testnet_down", "amesh testnet up"},
	{stage.ErrCannot, exitFailed, "not_possible", "with --nat mixed a node behind a box can have all faults"},
}

// testnetFailure says how an error about a testnet ends.
func testnetFailure(err error) error {
	for _, known := range testnetFailures {
		if errors.Is(err, known.err) {
			return &failure{exit: known.exit, code: known.code, message: err.Error(), hint: known.hint}
		}
	}
	// A node that does not answer after its start is not helped by starting it.
	if l, ok := errors.AsType[*stage.LogError](err); ok && len(l.Lines) > 0 {
		return fmt.Errorf("%w; the end of its log:\n%s", err, strings.Join(l.Lines, "\n"))
	}
	if p, ok := errors.AsType[*api.Problem](err); ok && p.Code == api.CodeUnreachable {
		return &failure{exit: exitDaemon, code: string(p.Code), message: err.Error(), hint: "amesh testnet up starts every node"}
	}
	if e, ok := errors.AsType[*exec.Error](err); ok && errors.Is(err, exec.ErrNotFound) {
		return &failure{exit: exitFailed, code: "no_program", message: err.Error(), hint: "install the program " + e.Name + "; run smoke --local needs nothing"}
	}
	return err
}
