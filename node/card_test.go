package node

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"testing"

	"amesh/internal/store"
	"amesh/node/agent"
	"amesh/node/api"
)

// T44: on a full disk the owner is told why nothing was said, and what was said stays.
func TestCardOnAFullDisk(t *testing.T) {
	t.Parallel()
	said := api.CardContent{Name: "before"}
	r := &room{agent: &agent.Agent{Config: agent.Config{Logger: slog.New(slog.DiscardHandler)}}}
	r.card = &signedCard{said: &said, sign: func(context.Context, api.CardContent) ([]byte, error) {
		return nil, fmt.Errorf("card: %w", store.ErrNoSpace)
	}}
	m := &mesh{rooms: []*room{r}}
	_, err := m.SetCard(t.Context(), "", flights)
	p, ok := errors.AsType[*api.Problem](err)
	if !ok || p.Code != api.CodeStorage || p.Hint != "make room and try again" {
		t.Errorf("got %v, want a storage problem with what to do", err)
	}
	if got := r.card.content().Name; got != "before" {
		t.Errorf("the card says %q", got)
	}
}
