package schema

import (
	"errors"
	"fmt"

	"github.com/santhosh-tekuri/jsonschema/v6"
)

// The library goes down one level of the stack for each subschema that applies to
// the value at hand, and again for each level of the payload. A chain of two
// thousand references below sixty-four arrays is a quarter of a gigabyte.

// maxChain is how many subschemas may apply to one value one within another.
const maxChain = 100

// errCircle reports a definition that never comes to the value.
var errCircle = errors.New("the definition refers to itself without going into the value")

// checkChains refuses definitions whose subschemas apply in too long a chain, or
// in a circle.
func checkChains(all []*jsonschema.Schema) error {
	c := chains{depth: make(map[*jsonschema.Schema]int), anchors: make(map[string][]*jsonschema.Schema)}
	for _, s := range all {
		if s.DynamicAnchor != "" {
			c.anchors[s.DynamicAnchor] = append(c.anchors[s.DynamicAnchor], s)
		}
	}
	for _, s := range all {
		if _, err := c.below(s, 0); err != nil {
			return err
		}
	}
	return nil
}

type chains struct {
	depth   map[*jsonschema.Schema]int // 0 while it is being worked out
	anchors map[string][]*jsonschema.Schema
}

// below returns how long the longest chain from s is, itself included, at
// distance from where the search began.
func (c *chains) below(s *jsonschema.Schema, distance int) (int, error) {
	if depth, ok := c.depth[s]; ok {
		if depth == 0 {
			return 0, errCircle
		}
		return depth, nil
	}
	if distance > maxChain {
		return 0, errChain
	}
	c.depth[s] = 0
	longest := 0
	for _, child := range inPlace(s) {
		depth, err := c.below(child, distance+1)
		if err != nil {
			return 0, err
		}
		longest = max(longest, depth)
	}
	if s.DynamicRef != nil {
		// Where it leads is known only when it is gone; a circle is found then.
		for _, child := range c.anchors[s.DynamicRef.Anchor] {
			depth, err := c.below(child, distance+1)
			if err != nil && !errors.Is(err, errCircle) {
				return 0, err
			}
			longest = max(longest, depth)
		}
	}
	if longest+1 > maxChain {
		return 0, errChain
	}
	c.depth[s] = longest + 1
	return longest + 1, nil
}

var errChain = fmt.Errorf("more than %d subschemas apply to one value, one within another", maxChain)
