package client

import (
	"context"
	"fmt"
	"net/url"
	"strconv"
	"time"

	"amesh/identity"
	"amesh/registry/wire"
)

// Rating is what one agent says of another after a session.
type Rating struct {
	Target  identity.AMID
	Session string // a UUID for Rate; any text for Feedback
	Score   float64
	Tags    []string
}

// Rate gives a rating (system 1 of 0.2).
func (c *Client) Rate(ctx context.Context, key identity.PrivateKey, r Rating) error {
	type body struct {
		Target  string   `json:"target_amid"`
		From    string   `json:"from_amid"`
		Score   float64  `json:"score"`
		Session string   `json:"session_id"`
		Tags    []string `json:"tags,omitempty"`
		wire.Stamp
	}
	_, err := c.signed(ctx, key, post("registry", "reputation"), func(s wire.Stamp) any {
		return body{r.Target.String(), key.AMID().String(), r.Score, r.Session, r.Tags, s}
	})
	return err
}

// Feedback gives a rating of a session (system 2 of 0.2) and returns its id.
func (c *Client) Feedback(ctx context.Context, key identity.PrivateKey, r Rating) (string, error) {
	type body struct {
		Target  string   `json:"target_amid"`
		Session string   `json:"session_id"`
		Score   float64  `json:"score"`
		Tags    []string `json:"tags,omitempty"`
		From    string   `json:"from_amid"`
		wire.Stamp
	}
	a, err := c.signed(ctx, key, post("registry", "reputation", "feedback"), func(s wire.Stamp) any {
		return body{r.Target.String(), r.Session, r.Score, r.Tags, key.AMID().String(), s}
	})
	if err != nil {
		return "", err
	}
	done, err := decode[struct {
		ID string `json:"feedback_id"`
	}](a)
	return harmless(done.ID), err
}

// SessionReport says how a session ended. Outcome is success, failed, timeout, rejected
// or cancelled.
type SessionReport struct {
	Session             string
	Initiator, Receiver identity.AMID
	Intent, Outcome     string
	Started             time.Time
}

// ReportSession tells how a session ended; the reporter took part in it. It returns the
// id of the registry's record.
func (c *Client) ReportSession(ctx context.Context, key identity.PrivateKey, r SessionReport) (string, error) {
	type body struct {
		Session   string `json:"session_id"`
		Initiator string `json:"initiator_amid"`
		Receiver  string `json:"receiver_amid"`
		Intent    string `json:"intent"`
		Outcome   string `json:"outcome"`
		Started   string `json:"started_at"`
		Reporter  string `json:"reporter_amid"`
		wire.Stamp
	}
	a, err := c.signed(ctx, key, post("registry", "reputation", "session"), func(s wire.Stamp) any {
		return body{r.Session, r.Initiator.String(), r.Receiver.String(), r.Intent, r.Outcome, r.Started.UTC().Format(time.RFC3339), key.AMID().String(), s}
	})
	if err != nil {
		return "", err
	}
	done, err := decode[struct {
		ID string `json:"session_record_id"`
	}](a)
	return harmless(done.ID), err
}

// Score is what a registry thinks of an agent, and of what.
type Score struct {
	AMID       identity.AMID
	Score      float64  `json:"score"`
	Completion float64  `json:"completion_rate"`
	Sessions   int      `json:"total_sessions"`
	Successful int      `json:"successful_sessions"`
	Feedbacks  int      `json:"feedback_count"`
	Average    *float64 `json:"average_feedback"` // nil: none
	Tier       string   `json:"tier"`
	AgeDays    int      `json:"age_days"`
	Tags       []TagUse `json:"tags"`
}

// TagUse is how often a tag was given.
type TagUse struct {
	Tag   string `json:"tag"`
	Count int    `json:"count"`
}

type scoreJSON struct {
	AMID string `json:"amid"`
	Score
}

// Score asks for an agent's score. It returns ErrNotFound.
func (c *Client) Score(ctx context.Context, amid identity.AMID) (Score, error) {
	got, err := get[scoreJSON](ctx, c, request{path: []string{"v1", "registry", "reputation", "score"}, query: url.Values{"amid": {amid.String()}}})
	if err != nil {
		return Score{}, err
	}
	if got.AMID != amid.String() {
		return Score{}, fmt.Errorf("%w: asked for %s it answers about %.40q", ErrLie, amid, got.AMID)
	}
	return got.score()
}

// Leaderboard lists the agents with the best scores. limit is at most Limits.Page;
// intent may be empty.
func (c *Client) Leaderboard(ctx context.Context, intent string, limit int) ([]Score, error) {
	limit = min(limit, c.limits.Page)
	query := url.Values{"limit": {strconv.Itoa(limit)}}
	if intent != "" {
		query.Set("intent", intent)
	}
	got, err := get[struct {
		Rows []scoreJSON `json:"leaderboard"`
	}](ctx, c, request{path: []string{"v1", "registry", "reputation", "leaderboard"}, query: query})
	if err != nil {
		return nil, err
	}
	var list []Score
	for _, row := range got.Rows[:min(len(got.Rows), limit)] {
		s, err := row.score()
		if err != nil {
			return nil, err
		}
		list = append(list, s)
	}
	return list, nil
}

func (j scoreJSON) score() (Score, error) {
	s := j.Score
	var err error
	if s.AMID, err = identity.ParseAMID(j.AMID); err != nil {
		return s, fmt.Errorf("%w: %w", ErrMalformed, err)
	}
	if s.Score < 0 || s.Score > 1 || s.Completion < 0 || s.Completion > 1 {
		return s, fmt.Errorf("%w: score %g, completion %g", ErrMalformed, s.Score, s.Completion)
	}
	s.Tier, s.Tags = harmless(s.Tier), s.Tags[:min(len(s.Tags), mostFlags)]
	for i := range s.Tags {
		s.Tags[i].Tag = harmless(s.Tags[i].Tag)
	}
	return s, nil
}
