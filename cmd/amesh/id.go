package main

import (
	"encoding/json"
	"fmt"
	"io"

	"amesh/identity"
	"amesh/node/api"

	"github.com/spf13/cobra"
)

func (a *app) idCommand() *cobra.Command {
	var document bool
	cmd := &cobra.Command{
		Use:   "id",
		Short: "Show who the agent is",
		Long: `Shows the agent's AMID, which is its name on the mesh and all that another agent
needs to write to it, its DID, and where its node listens.`,
		Example: "  amesh id\n  amesh id --json\n  amesh id --did-document",
		Args:    words(0, 0, ""),
		RunE: func(cmd *cobra.Command, _ []string) error {
			return a.ask(func(n api.Backend) error {
				id, err := n.Identity(cmd.Context(), a.agent)
				if err != nil {
					return err
				}
				if document {
					return a.showDocument(id)
				}
				return a.show(id, func(w io.Writer) { writeIdentity(w, id) })
			})
		},
	}
	cmd.Flags().BoolVar(&document, "did-document", false, "print the DID document")
	return cmd
}

func writeIdentity(w io.Writer, id api.Identity) {
	fmt.Fprintf(w, "amid     %s\n", id.AMID)
	fmt.Fprintf(w, "did      %s\n", id.DID)
	fmt.Fprintf(w, "agent    %s\n", plain(id.Name))
	fmt.Fprintf(w, "peer id  %s\n", plain(id.PeerID))
	for _, addr := range id.Addrs {
		fmt.Fprintf(w, "addr     %s\n", plain(addr))
	}
}

// showDocument prints the DID document. It is made of the agent's key file and
// not asked of the node, because the exchange key of the 0.2 wire is needed by
// nobody else here.
func (a *app) showDocument(id api.Identity) error {
	who, err := identity.LoadIdentity(a.agentFolder(id.Name))
	if err != nil {
		return err
	}
	doc := identity.NewDIDDocument(who.Key.Public(), who.Exchange.Public(), "", who.Created, who.Created)
	if a.json {
		return a.show(struct {
			api.Identity
			Document identity.DIDDocument `json:"did_document"`
		}{id, doc}, nil)
	}
	b, err := json.MarshalIndent(doc, "", "  ")
	if err != nil {
		return fmt.Errorf("DID document: %w", err)
	}
	_, err = fmt.Fprintf(a.out, "%s\n", b)
	return err
}
