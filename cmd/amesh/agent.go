package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"amesh/identity"
	"amesh/node"
	"amesh/node/api"

	"github.com/spf13/cobra"
)

func (a *app) agentCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:     "agent [list|import FILE|card]",
		Short:   "List the agents of the node, import one, or say what one can do",
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
	cmd.AddCommand(list, take, a.cardCommand())
	return cmd
}

// imported is what agent import says.
type imported struct {
	api.Agent
	DID string `json:"did"`
}

func (a *app) importAgent(file, name string) error {
	if err := checkAgentName(name); err != nil {
		return err
	}
	if err := a.refuseTwice(file); err != nil {
		return err
	}
	who, err := identity.ImportIdentity(file, a.agentFolder(name))
	if errors.Is(err, identity.ErrKeyFile) {
		f := explain(err)
		return f.next("give the identity.json of an AgentMesh SDK as it is; in its home that is keys/identity.json")
	}
	if err != nil {
		return err
	}
	amid := who.Key.AMID()
	return a.show(imported{api.Agent{Name: name, AMID: amid}, amid.DID()}, func(w io.Writer) {
		fmt.Fprintf(w, "%s  %s\nnext: amesh up\n", name, amid)
	})
}

// refuseTwice refuses an identity that is an agent here already: two agents with
// one key would take each other's mail. It looks only at the AMID that the file
// claims, because one that is not the key's is refused afterwards anyway.
func (a *app) refuseTwice(file string) error {
	f, err := os.Open(file)
	if err != nil {
		return fmt.Errorf("import identity: %w", err)
	}
	defer f.Close()
	var claimed struct {
		AMID string `json:"amid"`
	}
	if json.NewDecoder(io.LimitReader(f, 64<<10)).Decode(&claimed) != nil {
		return nil // no identity file, which the import says better
	}
	agents, err := a.agentsOnDisk()
	if err != nil {
		return err
	}
	for _, known := range agents {
		if known.AMID.String() == claimed.AMID {
			return &failure{exit: exitConflict, code: "exists", message: fmt.Sprintf("this identity is already agent %s", known.Name),
				hint: "amesh agent list"}
		}
	}
	return nil
}

// longestName is the longest name of an agent in bytes; it is a folder's name.
const longestName = 64

// checkAgentName accepts what can be the name of a folder and is harmless to show.
func checkAgentName(name string) error {
	if name == "" || name == "." || name == ".." || len(name) > longestName || strings.ContainsAny(name, `/\`) || plain(name) != name {
		return usagef("name %q: want one that can be a folder's, at most %d bytes and no slashes", name, longestName).
			next("give a name such as travel-bot")
	}
	return nil
}

func (a *app) agentFolder(name string) string { return filepath.Join(a.home, "agents", name) }

func (a *app) listAgents(cmd *cobra.Command, _ []string) error {
	agents, err := a.agentsOfNode(cmd.Context())
	p, _ := errors.AsType[*api.Problem](err)
	if p != nil && p.Code == api.CodeUnreachable || errors.Is(err, node.ErrSocketPath) {
		agents, err = a.agentsOnDisk()
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

func (a *app) agentsOfNode(ctx context.Context) ([]api.Agent, error) {
	n, err := a.node()
	if err != nil {
		return nil, err
	}
	s, err := n.Status(ctx, a.agent)
	return s.Agents, err
}

func (a *app) agentsOnDisk() ([]api.Agent, error) {
	entries, err := os.ReadDir(filepath.Join(a.home, "agents"))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	var agents []api.Agent
	for _, e := range entries {
		if !e.IsDir() {
			continue
		}
		who, err := identity.LoadIdentity(a.agentFolder(e.Name()))
		if errors.Is(err, fs.ErrNotExist) {
			continue // a folder without a key is no agent
		}
		if errors.Is(err, identity.ErrKeyFile) || errors.Is(err, identity.ErrMismatch) {
			return nil, explain(err).next("put %s back from a backup; without it the agent is lost", filepath.Join(a.agentFolder(e.Name()), identity.IdentityFile))
		}
		if err != nil {
			return nil, fmt.Errorf("agent %s: %w", e.Name(), err)
		}
		agents = append(agents, api.Agent{Name: e.Name(), AMID: who.Key.AMID()})
	}
	return agents, nil
}
