package wire

import (
	"math"
	"strconv"
	"strings"

	"amesh/identity"
)

// The codes of the reputation endpoints.
const (
	CodeInvalidScore Code = "invalid_score" // 400: outside 0 to 1, or no number
	CodeInvalidTag   Code = "invalid_tag"   // 400
	CodeSelfRating   Code = "self_rating"   // 400
)

// Outcome is how a session ended.
type Outcome string

// The outcomes of 0.2, and the registry's word for those that the sides do not agree on.
const (
	OutcomeSuccess   Outcome = "success"
	OutcomeFailed    Outcome = "failed"
	OutcomeTimeout   Outcome = "timeout"
	OutcomeRejected  Outcome = "rejected"
	OutcomeCancelled Outcome = "cancelled"
	OutcomeDisputed  Outcome = "disputed"
)

// Valid reports whether somebody may report this outcome.
func (o Outcome) Valid() bool {
	switch o {
	case OutcomeSuccess, OutcomeFailed, OutcomeTimeout, OutcomeRejected, OutcomeCancelled:
		return true
	}
	return false
}

// The limits of what is said after a session, in bytes.
const (
	MaxSessionID = 128
	MaxIntent    = 128
)

// feedbackTags are the tags that a rating may carry.
var feedbackTags = map[string]bool{
	"fast_response": true, "accurate": true, "professional": true, "reliable": true, "helpful": true, "knowledgeable": true,
	"slow_response": true, "inaccurate": true, "unhelpful": true, "unreliable": true,
}

// Score is a number in a request that should be a score. It keeps what stands there, so
// that a bad one is refused with its own code and not as a request that cannot be read.
type Score struct {
	Value float64 // NaN: nothing acceptable
}

// UnmarshalJSON takes whatever stands there and never fails.
func (s *Score) UnmarshalJSON(raw []byte) error {
	v, err := strconv.ParseFloat(strings.TrimSpace(string(raw)), 64)
	if err != nil || !(v >= 0 && v <= 1) {
		v = math.NaN()
	}
	s.Value = v
	return nil
}

// MarshalJSON writes the number.
func (s Score) MarshalJSON() ([]byte, error) {
	return strconv.AppendFloat(nil, s.Value, 'g', -1, 64), nil
}

// Feedback is the body of both endpoints that take a rating: POST /v1/registry/reputation
// and POST /v1/registry/reputation/feedback.
type Feedback struct {
	TargetAMID string   `json:"target_amid"`
	FromAMID   string   `json:"from_amid"`
	SessionID  string   `json:"session_id"`
	Score      *Score   `json:"score"`
	Tags       []string `json:"tags,omitempty"`
	Stamp
}

// Check returns an *Error for what cannot be a rating, and whose it is.
func (f *Feedback) Check() (target, from identity.AMID, err error) {
	if f.Score == nil || math.IsNaN(f.Score.Value) {
		return target, from, Errorf(400, CodeInvalidScore, "Score must be a number between 0 and 1")
	}
	if target, err = ParseAMID(f.TargetAMID); err != nil {
		return target, from, Invalid("target_amid: %v", err)
	}
	if from, err = ParseAMID(f.FromAMID); err != nil {
		return target, from, Invalid("from_amid: %v", err)
	}
	if target == from {
		return target, from, Errorf(400, CodeSelfRating, "An agent does not rate itself")
	}
	if err := CheckSessionID(f.SessionID); err != nil {
		return target, from, err
	}
	seen := make(map[string]bool)
	for _, tag := range f.Tags {
		if !feedbackTags[tag] || seen[tag] {
			return target, from, Errorf(400, CodeInvalidTag, "Invalid tag: %.40q", tag)
		}
		seen[tag] = true
	}
	return target, from, nil
}

// CheckSessionID returns an *Error for what cannot name a session.
func CheckSessionID(id string) error {
	if id == "" || len(id) > MaxSessionID || !plain(id) {
		return Invalid("session_id must be 1 to %d bytes of printable ASCII", MaxSessionID)
	}
	return nil
}

// plain reports whether a text is printable ASCII.
func plain(s string) bool {
	return !strings.ContainsFunc(s, func(r rune) bool { return r < 0x20 || r > 0x7E })
}

// SessionReport is the body of POST /v1/registry/reputation/session.
type SessionReport struct {
	SessionID     string  `json:"session_id"`
	InitiatorAMID string  `json:"initiator_amid"`
	ReceiverAMID  string  `json:"receiver_amid"`
	ReporterAMID  string  `json:"reporter_amid"`
	Intent        string  `json:"intent"`
	Outcome       Outcome `json:"outcome"`
	StartedAt     string  `json:"started_at"` // RFC 3339
	Stamp
}

// Recorded answers POST /v1/registry/reputation.
type Recorded struct {
	Success bool   `json:"success"`
	Message string `json:"message"`
}

// FeedbackID answers POST /v1/registry/reputation/feedback.
type FeedbackID struct {
	Success    bool   `json:"success"`
	FeedbackID string `json:"feedback_id"`
}

// SessionRecordID answers POST /v1/registry/reputation/session.
type SessionRecordID struct {
	Success         bool   `json:"success"`
	SessionRecordID string `json:"session_record_id"`
}

// TagCount is how often a tag stands in the ratings of an agent.
type TagCount struct {
	Tag   string `json:"tag"`
	Count int    `json:"count"`
}

// ReputationScore is what is known of how others get on with an agent.
type ReputationScore struct {
	AMID               string     `json:"amid"`
	Score              float64    `json:"score"`
	CompletionRate     float64    `json:"completion_rate"`
	TotalSessions      int        `json:"total_sessions"`
	SuccessfulSessions int        `json:"successful_sessions"`
	FeedbackCount      int        `json:"feedback_count"`
	AverageFeedback    float64    `json:"average_feedback"`
	Tier               Tier       `json:"tier"`
	AgeDays            int        `json:"age_days"`
	Tags               []TagCount `json:"tags"`
	LastUpdated        Time       `json:"last_updated"`
}

// SignedScore answers GET /v1/registry/reputation/score, and can be shown to others.
type SignedScore struct {
	ReputationScore
	SignedReply
}

// Leaderboard answers GET /v1/registry/reputation/leaderboard.
type Leaderboard struct {
	Leaderboard  []ReputationScore `json:"leaderboard"`
	Limit        int               `json:"limit"`
	IntentFilter *string           `json:"intent_filter"`
}
