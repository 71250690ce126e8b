package amtp

import (
	"errors"
	"fmt"
	"strconv"
	"time"

	"amesh/internal/ijson"
)

// Kinds of coordination.
const (
	Parallel    = "parallel"
	Sequential  = "sequential"
	Conditional = "conditional"
)

// Coordination is how the sender wants several recipients to work together
// (AMTP §7).
type Coordination struct {
	Type              string
	Timeout           time.Duration
	RequiredResponses []Address
	OptionalResponses []Address
	Sequence          []Address
	StopOnFailure     bool
	Conditions        []Condition
}

// Condition sends on to Then or to Else by what a reply says.
type Condition struct {
	If   string
	Then []Address
	Else []Address
}

// ParseCoordination reads the member coordination and checks its shape.
func ParseCoordination(value []byte) (Coordination, error) {
	var c Coordination
	members, err := ijson.Object(value, MaxDepth)
	if err != nil {
		return c, errors.New("coordination must be an object")
	}
	for _, m := range members {
		if err := c.take(m); err != nil {
			return c, err
		}
	}
	switch {
	case c.Type != Parallel && c.Type != Sequential && c.Type != Conditional:
		return c, fmt.Errorf("invalid coordination type: %.40s", c.Type)
	case c.Timeout <= 0:
		return c, errors.New("coordination timeout must be positive")
	case c.Type == Sequential && len(c.Sequence) == 0:
		return c, errors.New("sequential coordination requires sequence")
	case c.Type == Conditional && len(c.Conditions) == 0:
		return c, errors.New("conditional coordination requires conditions")
	}
	return c, nil
}

func (c *Coordination) take(m ijson.Member) (err error) {
	if isNull(m.Value) {
		return nil
	}
	switch m.Name {
	case "type":
		c.Type, err = textOf(m, MaxResponseType)
	case "timeout":
		c.Timeout, err = timeoutOf(m.Value)
	case "required_responses":
		c.RequiredResponses, err = addressesOf(m)
	case "optional_responses":
		c.OptionalResponses, err = addressesOf(m)
	case "sequence":
		c.Sequence, err = addressesOf(m)
	case "stop_on_failure":
		if c.StopOnFailure = string(m.Value) == "true"; !c.StopOnFailure && string(m.Value) != "false" {
			err = errors.New("stop_on_failure must be true or false")
		}
	case "conditions":
		c.Conditions, err = conditionsOf(m.Value)
	}
	return err
}

func timeoutOf(value []byte) (time.Duration, error) {
	n, err := strconv.ParseInt(string(value), 10, 64)
	if err != nil {
		return 0, errors.New("coordination timeout must be a whole number of seconds")
	}
	if n > int64(MaxCoordinationTimeout/time.Second) {
		return 0, fmt.Errorf("coordination timeout is longer than %d seconds", MaxCoordinationTimeout/time.Second)
	}
	return time.Duration(n) * time.Second, nil
}

func conditionsOf(value []byte) ([]Condition, error) {
	elements, err := ijson.Array(value, MaxDepth)
	if err != nil {
		return nil, errors.New("conditions must be an array")
	}
	all := make([]Condition, len(elements))
	for i, e := range elements {
		members, err := ijson.Object(e, MaxDepth)
		if err != nil {
			return nil, fmt.Errorf("condition %d: must be an object", i)
		}
		for _, m := range members {
			if err := all[i].take(m); err != nil {
				return nil, fmt.Errorf("condition %d: %w", i, err)
			}
		}
		if all[i].If == "" {
			return nil, fmt.Errorf("condition %d: 'if' clause is required", i)
		}
		if len(all[i].Then) == 0 {
			return nil, fmt.Errorf("condition %d: 'then' clause is required", i)
		}
	}
	return all, nil
}

func (c *Condition) take(m ijson.Member) (err error) {
	if isNull(m.Value) {
		return nil
	}
	switch m.Name {
	case "if":
		c.If, err = textOf(m, MaxSubject)
	case "then":
		c.Then, err = addressesOf(m)
	case "else":
		c.Else, err = addressesOf(m)
	}
	return err
}

func textOf(m ijson.Member, limit int) (string, error) {
	s, ok := ijson.String(m.Value)
	if !ok {
		return "", fmt.Errorf("%s must be a string", m.Name)
	}
	if len(s) > limit {
		return "", fmt.Errorf("%s has more than %d bytes", m.Name, limit)
	}
	return s, nil
}

func addressesOf(m ijson.Member) ([]Address, error) {
	elements, err := ijson.Array(m.Value, MaxDepth)
	if err != nil {
		return nil, fmt.Errorf("%s must be an array of addresses", m.Name)
	}
	if len(elements) > MaxRecipients {
		return nil, fmt.Errorf("%s has more than %d addresses", m.Name, MaxRecipients)
	}
	all := make([]Address, len(elements))
	for i, e := range elements {
		s, _ := ijson.String(e)
		if all[i], err = ParseAddress(s); err != nil {
			return nil, fmt.Errorf("invalid email in %s: %.200s", m.Name, s)
		}
	}
	return all, nil
}
