package scenario

import (
	"context"
	"fmt"
	"strings"

	"amesh/node/api"
	"amesh/testnet/plan"
)

// paths looks whether every two nodes that can have a direct path have one, and lets those
// try that have not. What a node calls direct does not count when its connection leads
// through a circuit relay.
func (s *scene) paths(ctx context.Context) ([]string, error) {
	kinds := make(map[string]plan.Kind)
	for _, n := range s.stage.Plan().Nodes {
		kinds[n.Name] = n.Kind
	}
	for try := 1; ; try++ {
		picture := Look(ctx, s.stage)
		var missing []Path
		direct, relayed := 0, 0
		for _, p := range picture.Paths {
			switch {
			case p.direct():
				direct++
			case plan.Direct(kinds[p.From], kinds[p.To]):
				missing = append(missing, p)
			case p.Kind == api.PathRelayed:
				relayed++
			}
		}
		if len(missing) == 0 {
			return []string{fmt.Sprintf("of %d ways %d are direct or punched, %d relayed", len(picture.Paths), direct, relayed)}, nil
		}
		if try > s.limits.Tries || ctx.Err() != nil {
			return nil, fmt.Errorf("not direct after %d tries: %s", try-1, explain(missing))
		}
		for _, p := range missing {
			if node, err := s.stage.Node(p.From); err == nil {
				_, _ = node.TryDirect(ctx, "", s.amid[p.To]) // the next look shows what came of it
			}
		}
		rest(ctx, s.limits.Try)
	}
}

// direct reports whether the two nodes have a connection of their own.
func (p Path) direct() bool {
	return (p.Kind == api.PathDirect || p.Kind == api.PathPunched || p.Kind == api.PathOpen) && !p.Limited && !p.Down
}

func explain(paths []Path) string {
	var all []string
	for _, p := range paths {
		all = append(all, fmt.Sprintf("%s to %s is %s (%s)", p.From, p.To, p.Kind, p.Text))
	}
	return strings.Join(all, "; ")
}
