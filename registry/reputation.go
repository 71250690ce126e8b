package registry

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"net/http"
	"net/netip"
	"strconv"
	"time"

	"amesh/identity"
	"amesh/internal/timestamp"
	"amesh/registry/db"
	"amesh/registry/reputation"
	"amesh/registry/wire"

	"github.com/google/uuid"
)

// reputationSubject takes what agents say of each other after a session, and says what
// it comes to. Both systems of 0.2 end in one (registry-trust.md §2).
func (s *Server) reputationSubject() {
	s.routes = append(s.routes,
		route{method: http.MethodPost, path: "/v1/registry/reputation", change: s.rate,
			signer: signer{amid: "from_amid", unknown: http.StatusBadRequest}},
		route{method: http.MethodPost, path: "/v1/registry/reputation/feedback", change: s.feedback,
			signer: signer{amid: "from_amid", unknown: http.StatusUnauthorized}},
		route{method: http.MethodPost, path: "/v1/registry/reputation/session", change: s.reportSession,
			signer: signer{amid: "reporter_amid", unknown: http.StatusUnauthorized}},
		route{method: http.MethodGet, path: "/v1/registry/reputation/score", read: s.score},
		route{method: http.MethodGet, path: "/v1/registry/reputation/leaderboard", read: s.leaderboard, cost: leaderboardCost},
	)
	s.describe = append(s.describe, s.describeReputation)
	s.forget = append(s.forget, func(tx *db.Tx, who identity.AMID) error { return tx.ForgetTrust(who, s.cfg.Clock()) })
	s.sweeps = append(s.sweeps, (*db.Tx).ForgetWords)
	s.chores = append(s.chores, s.refreshScores)
}

// rate is the endpoint of 0.2's first system.
func (s *Server) rate(tx *db.Tx, r *request) (reply, error) {
	if _, err := s.addRating(tx, r); err != nil {
		return reply{}, err
	}
	return reply{body: wire.Recorded{Success: true, Message: "Reputation feedback recorded"}}, nil
}

// feedback is that of the second.
func (s *Server) feedback(tx *db.Tx, r *request) (reply, error) {
	id, err := s.addRating(tx, r)
	if err != nil {
		return reply{}, err
	}
	return reply{body: wire.FeedbackID{Success: true, FeedbackID: id}}, nil
}

func (s *Server) addRating(tx *db.Tx, r *request) (id string, err error) {
	body, err := decode[wire.Feedback](r)
	if err != nil {
		return "", err
	}
	target, from, err := body.Check()
	if err != nil {
		return "", err
	}
	if err := s.maySpeak(tx, r); err != nil {
		return "", err
	}
	id = uuid.NewString()
	err = tx.AddRating(db.Rating{
		ID: id, Target: target, Rater: from, SessionID: body.SessionID, Score: body.Score.Value, Tags: body.Tags,
		Network: s.networkOf(r.from), At: r.now,
	})
	if errors.Is(err, db.ErrDuplicate) {
		return "", wire.Errorf(http.StatusConflict, wire.CodeConflict, "Feedback already submitted for this session")
	}
	return id, orNotFound(err, "Target agent not found")
}

// maySpeak bounds what one agent can make the registry keep.
func (s *Server) maySpeak(tx *db.Tx, r *request) error {
	n, err := tx.SaidSince(r.by.amid, r.now.Add(-24*time.Hour))
	if err != nil || n < s.limits.WordsPerDay {
		return err
	}
	e := wire.Errorf(http.StatusTooManyRequests, wire.CodeRateLimited, "%d ratings and reports in 24 hours: that is all", n)
	e.RetryAfter = time.Hour
	return e
}

// networkOf names a network without saying which: a /24 or a /48, hashed with a salt
// that only the database knows. It is empty for an address that is not known.
func (s *Server) networkOf(ip netip.Addr) string {
	bits := 48
	if ip = ip.Unmap(); ip.Is4() {
		bits = 24
	}
	p, err := ip.WithZone("").Prefix(bits)
	if err != nil || !p.IsValid() {
		return ""
	}
	h := hmac.New(sha256.New, s.trust.salt)
	h.Write([]byte(p.String()))
	return hex.EncodeToString(h.Sum(nil)[:16])
}

// reportSession takes one side's word on a session.
func (s *Server) reportSession(tx *db.Tx, r *request) (reply, error) {
	body, err := decode[wire.SessionReport](r)
	if err != nil {
		return reply{}, err
	}
	report, err := readReport(body)
	if err != nil {
		return reply{}, err
	}
	report.Reporter = r.by.amid
	if report.Reporter != report.Initiator && report.Reporter != report.Receiver {
		return reply{}, wire.Errorf(http.StatusForbidden, wire.CodeForbidden, "Reporter is not a participant of the session")
	}
	if report.Started.After(r.now.Add(db.StartSkew)) {
		return reply{}, wire.Invalid("started_at lies in the future")
	}
	if err := s.maySpeak(tx, r); err != nil {
		return reply{}, err
	}
	report.ID, report.At = uuid.NewString(), r.now
	id, err := tx.ReportSession(report)
	if err != nil {
		return reply{}, orNotFound(err, "Agent not found")
	}
	return reply{body: wire.SessionRecordID{Success: true, SessionRecordID: id}}, nil
}

func readReport(body wire.SessionReport) (report db.SessionReport, err error) {
	report = db.SessionReport{SessionID: body.SessionID, Intent: body.Intent, Outcome: body.Outcome}
	if report.Initiator, err = wire.ParseAMID(body.InitiatorAMID); err != nil {
		return report, wire.Invalid("initiator_amid: %s", err)
	}
	if report.Receiver, err = wire.ParseAMID(body.ReceiverAMID); err != nil {
		return report, wire.Invalid("receiver_amid: %s", err)
	}
	if report.Initiator == report.Receiver {
		return report, wire.Invalid("an agent has no session with itself")
	}
	if err := wire.CheckSessionID(body.SessionID); err != nil {
		return report, err
	}
	if !plainText(body.Intent, wire.MaxIntent) {
		return report, wire.Invalid("intent: want at most %d bytes of text without control characters", wire.MaxIntent)
	}
	if !body.Outcome.Valid() {
		return report, wire.Invalid("outcome: want success, failed, timeout, rejected or cancelled")
	}
	if report.Started, err = timestamp.Parse(body.StartedAt); err != nil {
		return report, wire.Invalid("started_at: want an RFC 3339 timestamp")
	}
	return report, nil
}

// score says how others get on with an agent, signed, so that the agent can show it.
func (s *Server) score(r *request) (reply, error) {
	who, err := wire.ParseAMID(r.URL.Query().Get("amid"))
	if err != nil {
		return reply{}, wire.Invalid("amid: %s", err)
	}
	out := wire.SignedScore{SignedReply: s.signedReply(r)}
	err = r.db.View(r.Context(), func(tx *db.Tx) error {
		a, err := tx.Agent(who)
		if err != nil {
			return err
		}
		rep, err := tx.Reputation(who)
		if err != nil {
			return err
		}
		out.ReputationScore, err = showScore(tx, db.Rated{Agent: a, Reputation: rep}, r.now)
		return err
	})
	if err != nil {
		return reply{}, orNotFound(err, "Agent not found")
	}
	return s.signed(out)
}

// showScore is a score as both endpoints show it.
func showScore(tx *db.Tx, r db.Rated, now time.Time) (wire.ReputationScore, error) {
	tags, err := tx.Tags(r.Agent.AMID)
	if err != nil {
		return wire.ReputationScore{}, err
	}
	updated := r.Reputation.Updated
	if updated.IsZero() {
		updated = r.Agent.Created
	}
	return wire.ReputationScore{
		AMID: r.Agent.AMID.String(), Score: r.Agent.Reputation, CompletionRate: r.Reputation.CompletionRate(),
		TotalSessions: r.Reputation.Sessions, SuccessfulSessions: r.Reputation.Successful,
		FeedbackCount: r.Reputation.RatingsCount, AverageFeedback: r.Reputation.AverageFeedback, Tier: r.Agent.Tier,
		AgeDays: max(0, int(now.Sub(r.Agent.Created).Hours()/24)), Tags: tags, LastUpdated: wire.Time{Time: updated},
	}, nil
}

// The leaderboard's page.
const (
	defaultLeaders = 20
	maxLeaders     = 100

	// leaderboardCost is how many requests one for it counts for: it sorts all agents.
	leaderboardCost = 5
)

// leaders are the first agents of all, and from when they are.
type leaders struct {
	at   time.Time
	rows []wire.ReputationScore
}

func (s *Server) leaderboard(r *request) (reply, error) {
	if err := s.mayAsk(r); err != nil {
		return reply{}, err
	}
	q := r.URL.Query()
	limit, err := pageNumber(q.Get("limit"), defaultLeaders, 1, maxLeaders)
	if err != nil {
		return reply{}, wire.Invalid("limit: %s", err)
	}
	intent := q.Get("intent")
	if !plainText(intent, wire.MaxIntent) {
		return reply{}, wire.Invalid("intent: want at most %d bytes of text without control characters", wire.MaxIntent)
	}
	out := wire.Leaderboard{Limit: limit}
	if intent != "" {
		out.IntentFilter = &intent
		out.Leaderboard, err = s.leadersFor(r, intent, limit)
		return reply{body: out}, err
	}
	if out.Leaderboard, err = s.leadersOfAll(r); err != nil {
		return reply{}, err
	}
	out.Leaderboard = out.Leaderboard[:min(limit, len(out.Leaderboard))]
	return reply{body: out}, nil
}

// leadersOfAll is the longest page without an intent, which is kept for a while.
func (s *Server) leadersOfAll(r *request) ([]wire.ReputationScore, error) {
	if l := s.leading.Load(); l != nil && r.now.Sub(l.at) < s.limits.StatsLife && !r.now.Before(l.at) {
		return l.rows, nil
	}
	rows, err := s.leadersFor(r, "", maxLeaders)
	if err != nil {
		return nil, err
	}
	s.leading.Store(&leaders{r.now, rows})
	return rows, nil
}

func (s *Server) leadersFor(r *request, intent string, limit int) ([]wire.ReputationScore, error) {
	rows := []wire.ReputationScore{}
	err := r.db.View(r.Context(), func(tx *db.Tx) error {
		rows = rows[:0]
		list, err := tx.Leaders(intent, reputation.RatedFrom, limit)
		if err != nil {
			return err
		}
		for _, l := range list {
			shown, err := showScore(tx, l, r.now)
			if err != nil {
				return err
			}
			rows = append(rows, shown)
		}
		return nil
	})
	return rows, err
}

// pageNumber reads a number of a query. Too much is cut to the most there is, as 0.2
// clients expect; what is no number, or too little, is an error.
func pageNumber(text string, otherwise, low, high int) (int, error) {
	if text == "" {
		return otherwise, nil
	}
	n, err := strconv.Atoi(text)
	if err != nil || n < low {
		return 0, errors.New("want a number of at least " + strconv.Itoa(low))
	}
	return min(n, high), nil
}

// describeReputation completes what lookup says of an agent.
func (s *Server) describeReputation(tx *db.Tx, out *wire.LookupReply, a db.Agent) error {
	r, err := tx.Reputation(a.AMID)
	if err != nil {
		return err
	}
	out.RatingsCount, out.Flags = r.RatingsCount, r.Flags(s.cfg.Clock())
	if reputation.Rated(r.RatingsCount) {
		out.ReputationStatus = wire.Rated
	}
	return nil
}

// What is refreshed of the scores that only age has changed: in small steps, so that
// nobody waits long for the database.
const (
	refreshAfter = 24 * time.Hour
	refreshStep  = 20
	refreshSteps = 50
)

func (s *Server) refreshScores(ctx context.Context, d *db.DB) error {
	for range refreshSteps {
		now, n := s.cfg.Clock(), 0
		err := d.Write(ctx, func(tx *db.Tx) error {
			list, err := tx.StaleReputations(now.Add(-refreshAfter), refreshStep)
			for _, who := range list {
				err = errors.Join(err, tx.RefreshReputation(who, now))
			}
			n = len(list)
			return err
		})
		if err != nil || n < refreshStep {
			return err
		}
	}
	return nil
}
