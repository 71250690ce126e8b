package main

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"amesh/identity"
	"amesh/node/api"

	"github.com/spf13/cobra"
)

func (a *app) agentCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:     "agent [list|import FILE]",
		Short:   "List the agents of the node, or import one",
		Long:    "A node hosts one or more agents, each with an identity and a mailbox of its own.",
		Example: "  amesh agent list\n  amesh agent import ~/.agentmesh/keys/identity.json",
		Args:    verbs,
		RunE:    a.listAgents,
	}
	list := &cobra.Command{
		Use:     "list",
		Short:   "List the agents of the node",
		Long:    "Lists the agents of the node, also when it does not run.",
		Example: "  amesh agent list --json",
		Args:    words(0, 0, ""),
		RunE:    a.listAgents,
	}
	var name string
	take := &cobra.Command{
		Use:   "import FILE",
		Short: "Take over the identity of an SDK",
		Long: `Copies an identity.json of an AgentMesh SDK into the home, as an agent of this node.
The keys are checked against the AMID first, nothing is overwritten, and the file
itself is left alone. A running node sees the new agent when it is started again.`,
		Example: "  amesh agent import ~/.agentmesh/keys/identity.json --name travel-bot",
		Args:    words(1, 1, "the identity file"),
		RunE: func(_ *cobra.Command, args []string) error {
			return a.importAgent(args[0], name)
		},
	}
	take.Flags().StringVar(&name, "name", "default", "name of the agent")
	cmd.AddCommand(list, take)
	return cmd
}

// imported is what agent import says.
type imported struct {
	api.Agent
	DID string `json:"did"`
}

func (a *app) importAgent(file, name string) error {
	if !filepath.IsLocal(name) || filepath.Base(name) != name || name == "." {
		return usagef("name %q: want one that can be a folder's", name)
	}
	who, err := identity.ImportIdentity(file, a.agentFolder(name))
	if err != nil {
		return fmt.Errorf("import %s: %w", file, err)
	}
	amid := who.Key.AMID()
	return a.show(imported{api.Agent{Name: name, AMID: amid}, amid.DID()}, func(w io.Writer) {
		fmt.Fprintf(w, "%s  %s\nnext: amesh up\n", name, amid)
	})
}

func (a *app) agentFolder(name string) string { return filepath.Join(a.home, "agents", name) }

func (a *app) listAgents(cmd *cobra.Command, _ []string) error {
	n, err := a.node()
	if err != nil {
		return err
	}
	var agents []api.Agent
	s, err := n.Status(cmd.Context(), a.agent)
	if p, ok := errors.AsType[*api.Problem](err); ok && p.Code == api.CodeUnreachable {
		agents, err = a.agentsOnDisk()
	} else {
		agents = s.Agents
	}
	if err != nil {
		return err
	}
	return a.show(items(agents), func(w io.Writer) {
		for _, agent := range agents {
			fmt.Fprintf(w, "%s  %s\n", plain(agent.Name), agent.AMID)
		}
		if len(agents) == 0 {
			fmt.Fprintln(w, "no agents yet: amesh up makes one")
		}
	})
}

func (a *app) agentsOnDisk() ([]api.Agent, error) {
	entries, err := os.ReadDir(filepath.Join(a.home, "agents"))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	var agents []api.Agent
	for _, e := range entries {
		who, err := identity.LoadIdentity(a.agentFolder(e.Name()))
		if errors.Is(err, fs.ErrNotExist) {
			continue // a folder without a key is no agent
		}
		if err != nil {
			return nil, fmt.Errorf("agent %s: %w", e.Name(), err)
		}
		agents = append(agents, api.Agent{Name: e.Name(), AMID: who.Key.AMID()})
	}
	return agents, nil
}
