package db

import (
	"encoding/binary"
	"errors"
	"fmt"
	"time"

	"amesh/identity"
	"amesh/registry/reputation"
	"amesh/registry/wire"
)

// Reputation is what a registry knows of how others get on with an agent.
type Reputation struct {
	RatingsCount    int // those that count
	AverageFeedback float64
	Sessions        int // that ended well or badly
	Successful      int
	IncreaseUntil   time.Time // until when the flag stays; long ago: there is none
	DecreaseUntil   time.Time
	Updated         time.Time
}

// Flags are what holds of them at the time now, never nil.
func (r Reputation) Flags(now time.Time) []string {
	flags := []string{}
	if now.Before(r.IncreaseUntil) {
		flags = append(flags, reputation.RapidIncrease.String())
	}
	if now.Before(r.DecreaseUntil) {
		flags = append(flags, reputation.RapidDecrease.String())
	}
	return flags
}

// CompletionRate is the share of the sessions that ended well, 0.5 without any.
func (r Reputation) CompletionRate() float64 {
	if r.Sessions == 0 {
		return unheard
	}
	return float64(r.Successful) / float64(r.Sessions)
}

// unheard is what the averages say before anybody said anything.
const unheard = 0.5

// ReputationColumns are what ScanReputation reads, of a table called reputations that
// may be joined from the left.
const ReputationColumns = "reputations.ratings_count, reputations.average_feedback, reputations.total_sessions, " +
	"reputations.successful_sessions, reputations.increase_until, reputations.decrease_until, reputations.updated_at"

// ReputationDest is where the columns go. Fill reads them into a Reputation.
type ReputationDest struct {
	ratings, sessions, successful *int64
	average                       *float64
	increase, decrease, updated   *int64
}

// Dest are the pointers to scan into.
func (d *ReputationDest) Dest() []any {
	return []any{&d.ratings, &d.average, &d.sessions, &d.successful, &d.increase, &d.decrease, &d.updated}
}

// Fill is what was scanned; of an agent that nobody spoke of, its beginning.
func (d *ReputationDest) Fill() Reputation {
	if d.ratings == nil {
		return Reputation{AverageFeedback: unheard}
	}
	return Reputation{
		RatingsCount: int(*d.ratings), AverageFeedback: *d.average, Sessions: int(*d.sessions), Successful: int(*d.successful),
		IncreaseUntil: Time(*d.increase), DecreaseUntil: Time(*d.decrease), Updated: Time(*d.updated),
	}
}

// Reputation is what is known of an agent, who need not be registered.
func (t *Tx) Reputation(who identity.AMID) (Reputation, error) {
	var d ReputationDest
	err := one(t.QueryRow("SELECT "+ReputationColumns+" FROM reputations WHERE amid = $1", who.String()).Scan(d.Dest()...))
	if err != nil && !errors.Is(err, ErrNotFound) {
		return Reputation{}, fmt.Errorf("reputation: %w", err)
	}
	return d.Fill(), nil
}

// RefreshReputation computes an agent's score anew, and keeps it with what it comes
// from. It does nothing for an agent that is not registered.
func (t *Tx) RefreshReputation(who identity.AMID, now time.Time) error {
	a, err := t.Agent(who)
	if errors.Is(err, ErrNotFound) {
		return nil
	}
	if err != nil {
		return err
	}
	s, err := t.sum(who, now)
	if err != nil {
		return err
	}
	r, err := t.Reputation(who)
	if err != nil {
		return err
	}
	subject := reputation.Agent{Tier: ReputationTier(a.Tier), Age: now.Sub(a.Created)}
	switch reputation.Compare(subject, s.before, s.now) {
	case reputation.RapidIncrease:
		r.IncreaseUntil = now.Add(reputation.FlagWindow)
	case reputation.RapidDecrease:
		r.DecreaseUntil = now.Add(reputation.FlagWindow)
	}
	_, err = t.Exec(`INSERT INTO reputations (amid, ratings_count, average_feedback, total_sessions, successful_sessions,
			increase_until, decrease_until, updated_at) VALUES ($1, $2, $3, $4, $5, $6, $7, $8)
		ON CONFLICT (amid) DO UPDATE SET ratings_count = excluded.ratings_count, average_feedback = excluded.average_feedback,
			total_sessions = excluded.total_sessions, successful_sessions = excluded.successful_sessions,
			increase_until = excluded.increase_until, decrease_until = excluded.decrease_until, updated_at = excluded.updated_at`,
		who.String(), s.ratings, s.average(), s.sessions, s.successful, flagMicros(r.IncreaseUntil), flagMicros(r.DecreaseUntil), Micros(now))
	if err != nil {
		return fmt.Errorf("keep reputation: %w", err)
	}
	if _, err := t.Exec("UPDATE agents SET reputation = $2 WHERE amid = $1", who.String(), reputation.Score(subject, s.now)); err != nil {
		return fmt.Errorf("keep score: %w", err)
	}
	return t.Reindex(who)
}

// flagMicros writes a flag that never was as the beginning of time.
func flagMicros(t time.Time) int64 {
	if t.IsZero() {
		return 0
	}
	return Micros(t)
}

// words are everything that counts about an agent, now and FlagWindow ago.
type words struct {
	now, before          reputation.Evidence
	ratings              int
	sessions, successful int
}

func (s *words) average() float64 {
	var weight, sum float64
	for _, v := range s.now.Ratings {
		weight += v.Weight
		sum += v.Sum
	}
	if weight == 0 {
		return unheard
	}
	return sum / weight
}

func (t *Tx) sum(who identity.AMID, now time.Time) (*words, error) {
	s := &words{}
	ago := Micros(now.Add(-reputation.FlagWindow))
	err := t.Query(func(scan func(...any) error) error {
		var owner string
		var v, old reputation.Voice
		var n int
		if err := scan(&owner, &v.Weight, &v.Sum, &n, &old.Weight, &old.Sum); err != nil {
			return err
		}
		v.Proven, old.Proven = owner != "", owner != ""
		s.now.Ratings, s.before.Ratings = append(s.now.Ratings, v), append(s.before.Ratings, old)
		s.ratings += n
		return nil
	}, `SELECT owner, SUM(weight), SUM(weight * score), COUNT(*),
			SUM(CASE WHEN counted_at <= $2 THEN weight ELSE 0 END), SUM(CASE WHEN counted_at <= $2 THEN weight * score ELSE 0 END)
		FROM ratings WHERE target = $1 AND weight > 0 AND counted_at IS NOT NULL GROUP BY owner ORDER BY owner`, who.String(), ago)
	if err != nil {
		return nil, fmt.Errorf("sum ratings: %w", err)
	}
	err = t.Query(func(scan func(...any) error) error {
		var owner string
		var v, old reputation.Voice
		var n, well int
		if err := scan(&owner, &n, &well, &v.Weight, &v.Sum, &old.Weight, &old.Sum); err != nil {
			return err
		}
		v.Proven, old.Proven = owner != "", owner != ""
		s.now.Sessions, s.before.Sessions = append(s.now.Sessions, v), append(s.before.Sessions, old)
		s.sessions, s.successful = s.sessions+n, s.successful+well
		return nil
	}, `SELECT owner, COUNT(*), SUM(CASE WHEN outcome = 'success' THEN 1 ELSE 0 END),
			SUM(weight), SUM(CASE WHEN outcome = 'success' THEN weight ELSE 0 END),
			SUM(CASE WHEN confirmed_at <= $2 THEN weight ELSE 0 END),
			SUM(CASE WHEN confirmed_at <= $2 AND outcome = 'success' THEN weight ELSE 0 END)
		FROM session_sides WHERE agent = $1 AND outcome IN ('success', 'failed', 'timeout') GROUP BY owner ORDER BY owner`,
		who.String(), ago)
	if err != nil {
		return nil, fmt.Errorf("sum sessions: %w", err)
	}
	return s, nil
}

// Tags are the tags of an agent's ratings that count, the most frequent first, ten at
// most, never nil.
func (t *Tx) Tags(who identity.AMID) ([]wire.TagCount, error) {
	tags := []wire.TagCount{}
	err := t.Query(func(scan func(...any) error) error {
		var c wire.TagCount
		if err := scan(&c.Tag, &c.Count); err != nil {
			return err
		}
		tags = append(tags, c)
		return nil
	}, "SELECT tag, count FROM reputation_tags WHERE amid = $1 ORDER BY count DESC, tag LIMIT 10", who.String())
	if err != nil {
		return nil, fmt.Errorf("tags: %w", err)
	}
	return tags, nil
}

// Rated is an agent with its reputation.
type Rated struct {
	Agent      Agent
	Reputation Reputation
}

// Leaders are the best of the agents that are rated and not revoked; where intent is
// not empty, of those that had a session about it.
func (t *Tx) Leaders(intent string, ratedFrom, limit int) ([]Rated, error) {
	var list []Rated
	err := t.Query(func(scan func(...any) error) error {
		var d ReputationDest
		a, err := ScanAgent(scan, d.Dest()...)
		if err != nil {
			return err
		}
		list = append(list, Rated{a, d.Fill()})
		return nil
	}, "SELECT "+AgentColumns+", "+ReputationColumns+` FROM agents JOIN reputations ON reputations.amid = agents.amid
		WHERE reputations.ratings_count >= $1
			AND NOT EXISTS (SELECT 1 FROM revocations WHERE revocations.amid = agents.amid)
			AND ($2 = '' OR EXISTS (SELECT 1 FROM session_sides WHERE session_sides.agent = agents.amid AND session_sides.intent = $2))
		ORDER BY agents.reputation DESC, reputations.ratings_count DESC, agents.amid LIMIT $3`, ratedFrom, intent, limit)
	if err != nil {
		return nil, fmt.Errorf("leaders: %w", err)
	}
	return list, nil
}

// StaleReputations are agents whose scores were computed before a time, the oldest
// first: age counts, so they change without anybody's word.
func (t *Tx) StaleReputations(before time.Time, limit int) ([]identity.AMID, error) {
	var list []identity.AMID
	err := t.Query(func(scan func(...any) error) error {
		var text string
		if err := scan(&text); err != nil {
			return err
		}
		who, err := identity.ParseAMID(text)
		if err != nil {
			return fmt.Errorf("row of a reputation: %w", err)
		}
		list = append(list, who)
		return nil
	}, `SELECT reputations.amid FROM reputations JOIN agents ON agents.amid = reputations.amid
		WHERE reputations.updated_at < $1 ORDER BY reputations.updated_at LIMIT $2`, Micros(before), limit)
	if err != nil {
		return nil, fmt.Errorf("stale reputations: %w", err)
	}
	return list, nil
}

// Value is a value that all instances of a registry share: the first that any of them
// offered under this name.
func (t *Tx) Value(name string, offer []byte) ([]byte, error) {
	_, err := t.Exec("INSERT INTO registry_values (name, value) VALUES ($1, $2) ON CONFLICT (name) DO NOTHING", name, offer)
	if err != nil {
		return nil, fmt.Errorf("offer %s: %w", name, err)
	}
	var value []byte
	if err := t.QueryRow("SELECT value FROM registry_values WHERE name = $1", name).Scan(&value); err != nil {
		return nil, fmt.Errorf("read %s: %w", name, err)
	}
	return value, nil
}

// Touch writes the time and nothing else: what it is for is whether that goes well.
func (t *Tx) Touch(now time.Time) error {
	_, err := t.Exec("INSERT INTO registry_values (name, value) VALUES ('touched', $1) ON CONFLICT (name) DO UPDATE SET value = excluded.value",
		binary.BigEndian.AppendUint64(nil, uint64(Micros(now))))
	if err != nil {
		return fmt.Errorf("touch: %w", err)
	}
	return nil
}

// ForgetTrust removes what an agent said and what was said of its sessions, and takes
// back its certificates: all of it may come from signatures that cover no request.
// What others said of it stays, but counts no more: the sessions for which it did were
// the agent's word, too. It counts again when the agent reports them, as any rating.
func (t *Tx) ForgetTrust(who identity.AMID, now time.Time) error {
	touched, err := t.touchedBy(who)
	if err != nil {
		return err
	}
	for _, q := range []string{
		"DELETE FROM ratings WHERE rater = $1",
		"DELETE FROM session_reports WHERE reporter = $1",
		"DELETE FROM session_sides WHERE agent = $1 OR peer = $1",
	} {
		if _, err := t.Exec(q, who.String()); err != nil {
			return fmt.Errorf("forget words: %w", err)
		}
	}
	if err := t.uncount(who); err != nil {
		return err
	}
	for _, other := range append(touched, who) {
		if err := t.RefreshReputation(other, now); err != nil {
			return err
		}
	}
	return t.RevokeCertificatesOf(who, "superseded", now)
}

// uncount lets all ratings of an agent wait for their sessions again. None of them
// answers one of the agent's any more, which have gone.
func (t *Tx) uncount(who identity.AMID) error {
	_, err := t.Exec(`UPDATE ratings SET counted_at = NULL, mutual = FALSE,
		weight = CASE WHEN mutual THEN weight / $2 ELSE weight END WHERE target = $1`, who.String(), reputation.MutualFactor)
	if err != nil {
		return fmt.Errorf("uncount ratings: %w", err)
	}
	if _, err := t.Exec("DELETE FROM reputation_tags WHERE amid = $1", who.String()); err != nil {
		return fmt.Errorf("uncount tags: %w", err)
	}
	return nil
}

// touchedBy are the agents whose scores an agent's words went into.
func (t *Tx) touchedBy(who identity.AMID) (list []identity.AMID, err error) {
	err = t.Query(func(scan func(...any) error) error {
		var text string
		if err := scan(&text); err != nil {
			return err
		}
		other, err := identity.ParseAMID(text)
		list = append(list, other)
		return err
	}, "SELECT target FROM ratings WHERE rater = $1 UNION SELECT agent FROM session_sides WHERE peer = $1", who.String())
	if err != nil {
		return nil, fmt.Errorf("touched: %w", err)
	}
	return list, nil
}
