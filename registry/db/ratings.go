package db

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"time"

	"amesh/identity"
	"amesh/registry/reputation"
	"amesh/registry/wire"
)

// ErrDuplicate reports what was said before and is said only once.
var ErrDuplicate = errors.New("said before")

// StartSkew is how far apart two sides may say that a session started.
const StartSkew = 10 * time.Minute

// ReportLife is how long a report waits for that of the other side, and a rating for
// both. Then they are removed.
const ReportLife = 30 * 24 * time.Hour

// Rating is what one agent says of another after a session.
type Rating struct {
	ID        string
	Target    identity.AMID
	Rater     identity.AMID
	SessionID string
	Score     float64
	Tags      []string
	Network   string // salted hash of the rater's network; empty: not known
	At        time.Time
}

// AddRating keeps a rating of two registered agents, decides what it weighs, and brings
// the scores up to date that it changes. It returns ErrDuplicate when the rater rated
// this session before, and ErrNotFound when one of the two is not registered.
func (t *Tx) AddRating(r Rating) error {
	weight, owner, err := t.weigh(r.Rater, r.Target, r.Network, r.At)
	if err != nil {
		return err
	}
	tags, err := json.Marshal(append([]string{}, r.Tags...))
	if err != nil {
		return err
	}
	n, err := t.Exec(`INSERT INTO ratings (id, target, rater, session_id, score, tags, owner, network, weight, mutual, rated_at)
		VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, FALSE, $10) ON CONFLICT (rater, session_id) DO NOTHING`,
		r.ID, r.Target.String(), r.Rater.String(), r.SessionID, r.Score, string(tags), owner, r.Network, weight, Micros(r.At))
	if err != nil {
		return fmt.Errorf("add rating: %w", err)
	}
	if n == 0 {
		return ErrDuplicate
	}
	met, err := t.met(r.SessionID, r.Target, r.Rater)
	if err != nil || !met {
		return err
	}
	if err := t.countRating(r.SessionID, r.Target, r.Rater, r.At); err != nil {
		return err
	}
	return t.refreshBoth(r.Target, r.Rater, r.At)
}

// refreshBoth is for ratings that count from now: one that answers another changes the
// weight of both.
func (t *Tx) refreshBoth(a, b identity.AMID, now time.Time) error {
	if err := t.RefreshReputation(a, now); err != nil {
		return err
	}
	return t.RefreshReputation(b, now)
}

// weigh says what the word of from about to weighs, and who is behind from.
func (t *Tx) weigh(from, to identity.AMID, network string, now time.Time) (weight float64, owner string, err error) {
	a, err := t.Agent(from)
	if err != nil {
		return 0, "", err
	}
	if _, err := t.Agent(to); err != nil {
		return 0, "", err
	}
	owners, tier, err := t.owners(from, now)
	if err != nil {
		return 0, "", err
	}
	others, _, err := t.owners(to, now)
	if err != nil {
		return 0, "", err
	}
	rater := reputation.Rater{Tier: tier, Age: now.Sub(a.Created)}
	for _, o := range owners {
		rater.SameOwner = rater.SameOwner || slices.Contains(others, o)
	}
	if network != "" {
		err := t.QueryRow("SELECT COUNT(*) > 0 FROM ratings WHERE target = $1 AND network = $2 AND network <> '' AND rated_at > $3",
			to.String(), network, Micros(now.Add(-reputation.NetworkWindow))).Scan(&rater.SameNetwork)
		if err != nil {
			return 0, "", fmt.Errorf("same network: %w", err)
		}
	}
	if len(owners) > 0 {
		owner = owners[0]
	}
	return reputation.Weight(rater), owner, nil
}

// owners are who is proved to be behind an agent, the strongest proof first.
func (t *Tx) owners(who identity.AMID, now time.Time) (owners []string, tier reputation.Tier, err error) {
	err = t.Query(func(scan func(...any) error) error {
		var owner, word string
		if err := scan(&owner, &word); err != nil {
			return err
		}
		if owner == "" || slices.Contains(owners, owner) {
			return nil
		}
		owners = append(owners, owner)
		tier = max(tier, ReputationTier(wire.Tier(word)))
		return nil
	}, `SELECT owner, tier FROM certificates WHERE amid = $1 AND expires_at > $2 AND revoked_at IS NULL
		ORDER BY tier, issued_at, serial`, who.String(), Micros(now)) // "organization" sorts before "verified"
	if err != nil {
		return nil, 0, fmt.Errorf("owners: %w", err)
	}
	return owners, tier, nil
}

// ReputationTier is a tier as the score counts it.
func ReputationTier(t wire.Tier) reputation.Tier {
	switch t {
	case wire.TierVerified:
		return reputation.Verified
	case wire.TierOrganization:
		return reputation.Organization
	}
	return reputation.Anonymous
}

// markMutual takes weight from a rating that counts from now, and from those that its
// target gave its rater within the window. Only ratings that count do that: else a word
// about a session that never was would take the weight from an honest one.
func (t *Tx) markMutual(id string, target, rater identity.AMID, rated time.Time) error {
	from, to := Micros(rated.Add(-reputation.MutualWindow)), Micros(rated.Add(reputation.MutualWindow))
	const answers = "rater = $1 AND target = $2 AND rated_at >= $3 AND rated_at <= $4 AND counted_at IS NOT NULL"
	var found bool
	err := t.QueryRow("SELECT COUNT(*) > 0 FROM ratings WHERE "+answers, target.String(), rater.String(), from, to).Scan(&found)
	if err != nil || !found {
		return err
	}
	_, err = t.Exec("UPDATE ratings SET mutual = TRUE, weight = weight * $5 WHERE mutual = FALSE AND (id = $6 OR "+answers+")",
		target.String(), rater.String(), from, to, reputation.MutualFactor, id)
	if err != nil {
		return fmt.Errorf("mutual ratings: %w", err)
	}
	return nil
}

// SessionReport is what one side says of a session.
type SessionReport struct {
	ID        string
	SessionID string
	Initiator identity.AMID
	Receiver  identity.AMID
	Reporter  identity.AMID // one of the two
	Intent    string
	Outcome   wire.Outcome
	Started   time.Time
	At        time.Time
}

// ReportSession keeps what one side says of a session, the first time that it does, and
// counts the session when the other side said the same. It returns the id of the report
// that is kept, or ErrNotFound when one of the two is not registered.
func (t *Tx) ReportSession(r SessionReport) (id string, err error) {
	for _, who := range []identity.AMID{r.Initiator, r.Receiver} {
		if _, err := t.Agent(who); err != nil {
			return "", err
		}
	}
	_, err = t.Exec(`INSERT INTO session_reports (session_id, initiator, receiver, reporter, id, intent, outcome, started_at, reported_at)
		VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9) ON CONFLICT (session_id, initiator, receiver, reporter) DO NOTHING`,
		r.SessionID, r.Initiator.String(), r.Receiver.String(), r.Reporter.String(), r.ID, r.Intent, string(r.Outcome), Micros(r.Started), Micros(r.At))
	if err != nil {
		return "", fmt.Errorf("report session: %w", err)
	}
	own, err := t.report(r, r.Reporter)
	if err != nil {
		return "", err
	}
	other := r.Initiator
	if r.Reporter == r.Initiator {
		other = r.Receiver
	}
	theirs, err := t.report(r, other)
	if errors.Is(err, ErrNotFound) {
		return own.ID, nil
	}
	if err != nil {
		return "", err
	}
	if own.Started.Sub(theirs.Started).Abs() > StartSkew {
		return own.ID, nil
	}
	if own.Outcome != theirs.Outcome {
		own.Outcome = wire.OutcomeDisputed
	}
	if own.Intent != theirs.Intent {
		own.Intent = ""
	}
	return own.ID, t.countSession(own, r.At)
}

// report is what is kept of one side of a session.
func (t *Tx) report(r SessionReport, reporter identity.AMID) (SessionReport, error) {
	var started int64
	err := t.QueryRow(`SELECT id, intent, outcome, started_at FROM session_reports
		WHERE session_id = $1 AND initiator = $2 AND receiver = $3 AND reporter = $4`,
		r.SessionID, r.Initiator.String(), r.Receiver.String(), reporter.String()).Scan(&r.ID, &r.Intent, &r.Outcome, &started)
	r.Reporter, r.Started = reporter, Time(started)
	return r, one(err)
}

// countSession notes a session that both sides reported, and lets the ratings count
// that waited for it.
func (t *Tx) countSession(r SessionReport, now time.Time) error {
	for _, side := range [][2]identity.AMID{{r.Initiator, r.Receiver}, {r.Receiver, r.Initiator}} {
		agent, peer := side[0], side[1]
		weight, owner, err := t.weigh(peer, agent, "", now)
		if err != nil {
			return err
		}
		n, err := t.Exec(`INSERT INTO session_sides (session_id, agent, peer, owner, weight, intent, outcome, confirmed_at)
			VALUES ($1, $2, $3, $4, $5, $6, $7, $8) ON CONFLICT (session_id, agent, peer) DO NOTHING`,
			r.SessionID, agent.String(), peer.String(), owner, weight, r.Intent, string(r.Outcome), Micros(now))
		if err != nil {
			return fmt.Errorf("count session: %w", err)
		}
		if n == 0 {
			continue
		}
		if err := t.countRating(r.SessionID, agent, peer, now); err != nil {
			return err
		}
	}
	return t.refreshBoth(r.Initiator, r.Receiver, now)
}

// countRating lets the rating of a session count from now, if there is one.
func (t *Tx) countRating(session string, target, rater identity.AMID, now time.Time) error {
	var id, text string
	var weight float64
	var rated int64
	err := t.QueryRow(`UPDATE ratings SET counted_at = $4 WHERE session_id = $1 AND target = $2 AND rater = $3 AND counted_at IS NULL
		RETURNING id, tags, weight, rated_at`, session, target.String(), rater.String(), Micros(now)).Scan(&id, &text, &weight, &rated)
	if errors.Is(one(err), ErrNotFound) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("count rating: %w", err)
	}
	var tags []string
	if err := json.Unmarshal([]byte(text), &tags); err != nil {
		return fmt.Errorf("row of a rating: tags: %w", err)
	}
	if err := t.markMutual(id, target, rater, Time(rated)); err != nil || weight == 0 {
		return err
	}
	return t.countTags(target, tags)
}

func (t *Tx) countTags(target identity.AMID, tags []string) error {
	for _, tag := range tags {
		_, err := t.Exec(`INSERT INTO reputation_tags (amid, tag, count) VALUES ($1, $2, 1)
			ON CONFLICT (amid, tag) DO UPDATE SET count = reputation_tags.count + 1`, target.String(), tag)
		if err != nil {
			return fmt.Errorf("count tag: %w", err)
		}
	}
	return nil
}

// met reports whether both sides said that they had this session.
func (t *Tx) met(session string, agent, peer identity.AMID) (bool, error) {
	var met bool
	err := t.QueryRow("SELECT COUNT(*) > 0 FROM session_sides WHERE session_id = $1 AND agent = $2 AND peer = $3",
		session, agent.String(), peer.String()).Scan(&met)
	if err != nil {
		return false, fmt.Errorf("session: %w", err)
	}
	return met, nil
}

// SaidSince is how many ratings and reports an agent made since a time.
func (t *Tx) SaidSince(who identity.AMID, since time.Time) (n int, err error) {
	err = t.QueryRow(`SELECT (SELECT COUNT(*) FROM ratings WHERE rater = $1 AND rated_at > $2)
		+ (SELECT COUNT(*) FROM session_reports WHERE reporter = $1 AND reported_at > $2)`, who.String(), Micros(since)).Scan(&n)
	if err != nil {
		return 0, fmt.Errorf("said since: %w", err)
	}
	return n, nil
}

// ForgetWords removes what waited too long for the other side, and which network rated
// once that is of no use.
func (t *Tx) ForgetWords(now time.Time) error {
	late := Micros(now.Add(-ReportLife))
	if _, err := t.Exec("DELETE FROM session_reports WHERE reported_at < $1", late); err != nil {
		return fmt.Errorf("forget reports: %w", err)
	}
	if _, err := t.Exec("DELETE FROM ratings WHERE rated_at < $1 AND counted_at IS NULL", late); err != nil {
		return fmt.Errorf("forget ratings: %w", err)
	}
	_, err := t.Exec("UPDATE ratings SET network = '' WHERE network <> '' AND rated_at < $1", Micros(now.Add(-reputation.NetworkWindow)))
	if err != nil {
		return fmt.Errorf("forget networks: %w", err)
	}
	return nil
}
