package stage

import (
	"context"
	"errors"
	"fmt"
	"net/http"

	"amesh/node/api"
	"amesh/testnet/plan"
)

// Introduce has every node call the others by their names in the plan, so that people can.
// It gives nobody a right to anything.
func Introduce(ctx context.Context, on Stage) error {
	return each(on.Plan().Nodes, func(n plan.Node) error {
		node, err := on.Node(n.Name)
		if err != nil {
			return err
		}
		for _, other := range on.Plan().Nodes {
			if other.Name == n.Name {
				continue
			}
			_, err := node.AddContact(ctx, "", api.ContactRequest{AMID: other.AMID, Name: other.Name})
			if p, ok := errors.AsType[*api.Problem](err); ok && p.Status == http.StatusConflict {
				continue // it knows already, or its owner likes another name better
			}
			if err != nil {
				return fmt.Errorf("%s: call %s by its name: %w", n.Name, other.Name, err)
			}
		}
		return nil
	})
}
