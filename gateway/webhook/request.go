package webhook

import (
	"bytes"
	"context"
	"encoding/json"
	"net/http"
	"strconv"
	"strings"
	"time"

	"amesh/gateway/store"
)

// push is the body of a push: what agentry sends, in its order.
type push struct {
	MessageID    string          `json:"message_id"`
	Sender       string          `json:"sender"`
	Recipient    string          `json:"recipient"`
	Subject      string          `json:"subject"`
	Schema       string          `json:"schema"`
	Timestamp    string          `json:"timestamp"`
	Headers      json.RawMessage `json:"headers"`
	Payload      json.RawMessage `json:"payload"`
	Attachments  json.RawMessage `json:"attachments"`
	Coordination json.RawMessage `json:"coordination"`
	InReplyTo    string          `json:"in_reply_to"`
	ResponseType string          `json:"response_type"`
	WorkflowID   string          `json:"workflow_id,omitempty"`
}

// ours reports headers that an agent's own do not replace: they are what a receiver
// checks, or belong to the connection.
func ours(name string) bool {
	switch strings.ToLower(name) {
	case "x-amtp-delivery-id", "x-amtp-timestamp", "x-amtp-signature", "x-amtp-local-delivery", "content-type",
		"host", "content-length", "transfer-encoding", "connection", "trailer", "te", "upgrade", "keep-alive",
		"proxy-connection", "proxy-authorization", "expect", "accept-encoding":
		return true
	}
	return false
}

// request makes the POST of a message to an agent.
func (p *Pusher) request(ctx context.Context, agent store.Agent, document []byte) (*http.Request, error) {
	var b push
	if err := json.Unmarshal(document, &b); err != nil {
		return nil, err
	}
	b.Recipient = agent.Address
	var buf bytes.Buffer
	encoder := json.NewEncoder(&buf)
	encoder.SetEscapeHTML(false) // what the sender wrote stays as it is
	if err := encoder.Encode(b); err != nil {
		return nil, err
	}
	body := bytes.TrimSuffix(buf.Bytes(), []byte("\n"))
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, agent.PushTarget, bytes.NewReader(body))
	if err != nil {
		return nil, err
	}
	req.Header.Set("User-Agent", p.cfg.UserAgent)
	for name, value := range agent.Headers {
		if !ours(name) {
			req.Header.Set(name, value)
		}
	}
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("X-AMTP-Local-Delivery", "true")
	id := b.MessageID + "/" + agent.Address
	req.Header.Set(HeaderID, id)
	if agent.PushSecret != "" {
		now := time.Now()
		req.Header.Set(HeaderTimestamp, strconv.FormatInt(now.Unix(), 10))
		req.Header.Set(HeaderSignature, Sign([]byte(agent.PushSecret), id, now, body))
	}
	return req, nil
}
