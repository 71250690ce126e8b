package scenario

import (
	"context"
	"fmt"
	"strings"
	"time"

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
	tries, last := 0, time.Time{}
	for {
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
			return []string{fmt.Sprintf("of %d ways %d are direct or punched, %d relayed; tries: %d", len(picture.Paths), direct, relayed, tries)}, nil
		}
		late := time.Since(last) >= s.limits.Try
		if ctx.Err() != nil || late && tries == s.limits.Tries {
			return nil, fmt.Errorf("not direct after %d tries: %s", tries, explain(missing))
		}
		if late {
			s.tryDirect(ctx, missing)
			tries, last = tries+1, time.Now()
		}
		rest(ctx, s.limits.Poll)
	}
}

// tryDirect has nodes try. The next look shows what came of it.
func (s *scene) tryDirect(ctx context.Context, paths []Path) {
	for _, p := range paths {
		if node, err := s.stage.Node(p.From); err == nil {
			_, _ = node.TryDirect(ctx, "", s.amid[p.To])
		}
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
