package amtp

import (
	"encoding/json"
	"time"
)

// State is where a message, or one recipient's copy of it, stands.
type State string

const (
	Pending    State = "pending"    // taken in, not yet looked at
	Queued     State = "queued"     // waits for its first attempt
	Delivering State = "delivering" // another gateway took it over and has not said more
	Delivered  State = "delivered"  // in the agent's inbox, or taken by its webhook or gateway
	Failed     State = "failed"     // for good
	Retrying   State = "retrying"   // an attempt went wrong, another one follows
)

// Valid says whether s is one of the six states.
func (s State) Valid() bool {
	switch s {
	case Pending, Queued, Delivering, Delivered, Failed, Retrying:
		return true
	}
	return false
}

// Final says whether nothing more will happen to a copy in this state here:
// Delivered, Failed, and Delivering, whose fate is the other gateway's.
func (s State) Final() bool { return s == Delivered || s == Failed || s == Delivering }

// Overall is the state of a message whose recipients are in these states: failed
// when one of them failed, delivered when all are, otherwise what still goes on.
// Without recipients it is Pending.
func Overall(states []State) State {
	count := make(map[State]int, len(states))
	for _, s := range states {
		count[s]++
	}
	switch {
	case len(states) == 0:
		return Pending
	case count[Failed] > 0:
		return Failed
	case count[Delivered] == len(states):
		return Delivered
	case count[Retrying] > 0:
		return Retrying
	case count[Queued] > 0:
		return Queued
	case count[Pending] > 0:
		return Pending
	}
	return Delivering
}

// Delivery modes as RecipientStatus names them.
const (
	ModePull = "pull"
	ModePush = "push"
)

// RecipientStatus is one recipient's part of a message's status. Times are in UTC.
type RecipientStatus struct {
	Address        string     `json:"address"`
	Status         State      `json:"status"`
	Timestamp      time.Time  `json:"timestamp"` // of the last change
	Attempts       int        `json:"attempts"`  // deliveries tried, the one that succeeded too
	NextRetry      *time.Time `json:"next_retry,omitempty"`
	ErrorCode      Code       `json:"error_code,omitempty"`
	ErrorMessage   string     `json:"error_message,omitempty"`
	DeliveryMode   string     `json:"delivery_mode,omitempty"` // of local recipients: ModePull, ModePush
	LocalDelivery  bool       `json:"local_delivery,omitempty"`
	InboxDelivered bool       `json:"inbox_delivered,omitempty"`
	Acknowledged   bool       `json:"acknowledged,omitempty"`
	AcknowledgedAt *time.Time `json:"acknowledged_at,omitempty"`
}

// MessageStatus is the body of GET /v1/messages/{id}/status.
type MessageStatus struct {
	MessageID   string            `json:"message_id"`
	Status      State             `json:"status"`
	Recipients  []RecipientStatus `json:"recipients"`
	Attempts    int               `json:"attempts"` // the largest of the recipients'
	NextRetry   *time.Time        `json:"next_retry,omitempty"`
	CreatedAt   time.Time         `json:"created_at"`
	UpdatedAt   time.Time         `json:"updated_at"`
	DeliveredAt *time.Time        `json:"delivered_at,omitempty"`

	Verification *Verification `json:"sender_verification,omitempty"`
}

// SendResult is the body of an answer to POST /v1/messages.
type SendResult struct {
	MessageID  string            `json:"message_id"`
	Status     State             `json:"status"`
	Recipients []RecipientStatus `json:"recipients"`
	WorkflowID string            `json:"workflow_id,omitempty"`
	Reply      json.RawMessage   `json:"reply,omitempty"` // the message that answers this one
}

// Result is what the check of a sender came to.
type Result string

const (
	Verified        Result = "verified"         // the domain's signature holds
	Authenticated   Result = "authenticated"    // proven by a certificate, a token or a key
	TrustedInternal Result = "trusted_internal" // one of our own agents, not authenticated
	Unsigned        Result = "unsigned"
	Invalid         Result = "invalid"         // a signature that does not hold
	KeyUnavailable  Result = "key_unavailable" // the domain's key could not be had
)

// Verification says how far the sender of a message is who it says it is. Its
// JSON is the union of what the draft profile and agentry write.
type Verification struct {
	Result    Result `json:"result"`
	Method    string `json:"method,omitempty"` // signature, mtls, oauth, apikey, agent_key, address
	Domain    string `json:"domain,omitempty"` // the domain that was proven, or claimed
	KeyID     string `json:"keyid,omitempty"`
	Algorithm string `json:"algorithm,omitempty"`
	Policy    string `json:"policy,omitempty"` // accept, flag, reject
	Reason    string `json:"reason,omitempty"`
}
