package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"amesh/testnet/compose"
	"amesh/testnet/plan"
	"amesh/testnet/stage"

	"github.com/spf13/cobra"
)

// dockerVerb adds a verb that works on a testnet in containers.
func (a *app) dockerVerb(cmd *cobra.Command, run func(cmd *cobra.Command, on *stage.Docker, dir string, args []string) error) *cobra.Command {
	var dir string
	dirFlag(cmd, &dir)
	cmd.RunE = func(cmd *cobra.Command, args []string) (err error) {
		p, dir, err := readTestnet(dir)
		if err != nil {
			return testnetFailure(err)
		}
		on := stage.NewDocker(stage.DockerConfig{Plan: p, Dir: dir, Limits: stage.DefaultLimits()})
		defer func() { err = errors.Join(err, on.Close()) }()
		if err := on.Engine(cmd.Context()); err != nil {
			return testnetFailure(err)
		}
		return testnetFailure(run(cmd, on, dir, args))
	}
	return cmd
}

// where is what up and down say with --json.
type where struct {
	Dir string `json:"dir"`
}

func (a *app) testnetUpCommand() *cobra.Command {
	return a.dockerVerb(&cobra.Command{
		Use:   "up",
		Short: "Start the testnet of a folder in containers",
		Long: `Makes the image of the folder's copy of this program and starts the containers with
"docker compose", or "docker-compose" where only that is installed. It returns when
every node answers, and calls the others by their names.`,
		Example: "  amesh testnet up\n  amesh testnet up --dir /tmp/small",
		Args:    words(0, 0, ""),
	}, func(cmd *cobra.Command, on *stage.Docker, dir string, _ []string) error {
		if err := on.Up(cmd.Context()); err != nil {
			return err
		}
		if err := stage.Introduce(cmd.Context(), on); err != nil {
			return err
		}
		return a.show(where{dir}, func(w io.Writer) {
			fmt.Fprintf(w, "%s, %s: every node answers\n", count(len(on.Plan().Relays), "relay"), count(len(on.Plan().Nodes), "node"))
		})
	})
}

func (a *app) testnetDownCommand() *cobra.Command {
	var remove bool
	cmd := a.dockerVerb(&cobra.Command{
		Use:   "down",
		Short: "Take the testnet of a folder away again",
		Long: `Removes containers, networks and the image. Homes and keys stay in the folder, and
"up" goes on with them; --remove removes what is in the folder as well.`,
		Example: "  amesh testnet down\n  amesh testnet down --remove",
		Args:    words(0, 0, ""),
	}, func(cmd *cobra.Command, on *stage.Docker, dir string, _ []string) error {
		if err := on.Down(cmd.Context()); err != nil {
			return err
		}
		if remove {
			if err := removeTestnet(dir, on.Plan()); err != nil {
				return err
			}
		}
		return a.show(where{dir}, func(w io.Writer) { fmt.Fprintln(w, "all containers, networks and the image are gone") })
	})
	cmd.Flags().BoolVar(&remove, "remove", false, "remove the homes, keys and files in the folder as well")
	return cmd
}

// removeTestnet removes what init and run made, and the folder when nothing else is in it.
func removeTestnet(dir string, p *plan.Plan) error {
	names := []string{compose.File, "Dockerfile", ".dockerignore", ".env", compose.Binary, runFile}
	for _, r := range p.Relays {
		names = append(names, r.Name)
	}
	for _, n := range p.Nodes {
		names = append(names, n.Name)
	}
	var all []error
	for _, name := range append(names, plan.File) { // the plan last: until then down can be tried again
		all = append(all, os.RemoveAll(filepath.Join(dir, name)))
	}
	if err := errors.Join(all...); err != nil {
		return fmt.Errorf("remove the testnet: %w", err)
	}
	_ = os.Remove(dir) // fails where somebody else's files are
	return nil
}
