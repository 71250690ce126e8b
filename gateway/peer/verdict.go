package peer

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"time"

	"amesh/gateway/amtp"
	"amesh/gateway/answer"
	"amesh/internal/outward"
)

// verdict is what one answer, or the lack of one, means for a recipient.
type verdict struct {
	state      amtp.State
	code       amtp.Code
	text       string
	status     int
	retryAfter time.Duration
	untried    bool
}

func final(status int, code amtp.Code, text string) *verdict {
	return &verdict{state: amtp.Failed, code: code, text: answer.Clean(text), status: status}
}

func later(status int, code amtp.Code, text string) *verdict {
	return &verdict{state: amtp.Retrying, code: code, text: answer.Clean(text), status: status}
}

// interrupted is for a try that we broke off: what came of it nobody knows.
func interrupted() *verdict {
	v := later(0, amtp.CodeContextCanceled, "interrupted before the gateway answered")
	v.untried = true
	return v
}

func (v *verdict) result(recipient string, took time.Duration) Result {
	return Result{
		Recipient: recipient, State: v.state, Code: v.code, Text: v.text, HTTPStatus: v.status,
		RetryAfter: v.retryAfter, Took: took, Untried: v.untried,
	}
}

func (v *verdict) forAll(recipients []string) []Result {
	all := make([]Result, len(recipients))
	for i, r := range recipients {
		all[i] = v.result(r, 0)
	}
	return all
}

// exhausted reports whether the gateway should be left alone for now.
func (v *verdict) exhausted() bool {
	return v.state == amtp.Retrying && (v.status == 0 || v.status == http.StatusTooManyRequests || v.status/100 == 5)
}

// unanswered judges a request that got no answer.
func unanswered(ctx context.Context, err error) *verdict {
	switch {
	case ctx.Err() != nil:
		return interrupted()
	case errors.Is(err, outward.ErrBlocked):
		return final(0, amtp.CodeSSRFBlocked, "the domain's gateway is at an address that is not contacted")
	}
	return later(0, amtp.CodeHTTPRequestFailed, "no answer from the domain's gateway: "+answer.Reason(err))
}

// reply is what a gateway says in an answer's body: of a message as a whole, of single
// recipients, or why it refuses. Unknown members are ignored, and texts are a
// stranger's.
type reply struct {
	Recipients []struct {
		Address string     `json:"address"`
		Status  amtp.State `json:"status"`
		Code    amtp.Code  `json:"error_code"`
		Text    string     `json:"error_message"`
	} `json:"recipients"`
	Error json.RawMessage `json:"error"`
}

// read judges an answer as a whole, and apart from it every recipient of which it
// speaks, by address in lower case.
func read(resp *http.Response, now time.Time, signed bool) (*verdict, map[string]*verdict) {
	body, whole := answer.Body(resp)
	var r reply
	known := whole && json.Unmarshal(body, &r) == nil
	v := judge(resp, r, now, signed)
	perRecipient := resp.StatusCode/100 == 2 || resp.StatusCode == http.StatusBadRequest
	if !whole && resp.StatusCode == http.StatusBadRequest {
		// It may be a list of who has got the message. Asking again does no harm.
		return later(resp.StatusCode, amtp.CodeResponseReadFailed, "the gateway's answer could not be read"), nil
	}
	if !known || !perRecipient || len(r.Recipients) == 0 {
		return v, nil
	}
	each := make(map[string]*verdict, len(r.Recipients))
	for _, one := range r.Recipients {
		each[strings.ToLower(one.Address)] = judgeOne(v, one.Status, one.Code, one.Text, signed)
	}
	return v, each
}

// judge is the verdict of an answer's status, and of the error in its body.
func judge(resp *http.Response, r reply, now time.Time, signed bool) *verdict {
	status := resp.StatusCode
	code, said := refusal(r.Error)
	text := strings.TrimSpace(fmt.Sprintf("the gateway answered %d %s", status, said))
	switch {
	case status == http.StatusAccepted:
		return &verdict{state: amtp.Delivering, status: status}
	case status/100 == 2:
		return &verdict{state: amtp.Delivered, status: status}
	case status == http.StatusTooManyRequests:
		v := later(status, amtp.CodeRateLimitExceeded, text)
		v.retryAfter = answer.RetryAfter(resp.Header, now)
		return v
	case status == http.StatusRequestTimeout, status == http.StatusTooEarly, status/100 == 5:
		v := later(status, amtp.CodeServerError, text)
		v.retryAfter = answer.RetryAfter(resp.Header, now)
		return v
	case status/100 == 4:
		return refused(resp, code, text, signed, now)
	case status/100 == 3:
		return final(status, amtp.CodeUnexpectedStatus, fmt.Sprintf("the gateway answered %d, which is not followed: the domain's record must name the gateway itself", status))
	}
	return final(status, amtp.CodeUnexpectedStatus, text)
}

// refused is the verdict of a 4xx.
func refused(resp *http.Response, code, text string, signed bool, now time.Time) *verdict {
	status := resp.StatusCode
	if status == http.StatusRequestEntityTooLarge {
		return final(status, amtp.CodeMessageTooLarge, text)
	}
	c := theirs(code, signed)
	if c == amtp.CodeSignatureKeyUnavailable { // our key's record could not be read there, now
		v := later(status, c, text)
		v.retryAfter = answer.RetryAfter(resp.Header, now)
		return v
	}
	if c == "" {
		c = amtp.CodeClientError
	}
	return final(status, c, text)
}

// refusal reads the member error: an object with code and message, or a text.
func refusal(raw json.RawMessage) (code, said string) {
	var e struct {
		Code    string `json:"code"`
		Message string `json:"message"`
	}
	if json.Unmarshal(raw, &e) == nil {
		return e.Code, strings.TrimSpace(e.Code + " " + e.Message)
	}
	if json.Unmarshal(raw, &said) == nil {
		return "", said
	}
	return "", ""
}

// judgeOne is the verdict of what a gateway says of one recipient, in an answer whose
// verdict as a whole is v.
func judgeOne(v *verdict, state amtp.State, code amtp.Code, text string, signed bool) *verdict {
	status := v.status
	switch state {
	case amtp.Delivered:
		return &verdict{state: amtp.Delivered, status: status}
	case amtp.Pending, amtp.Queued, amtp.Delivering, amtp.Retrying:
		return &verdict{state: amtp.Delivering, status: status}
	case amtp.Failed:
		c := theirs(string(code), signed)
		if c == "" {
			c = amtp.CodeDeliveryFailed
		}
		return final(status, c, strings.TrimSpace("the gateway could not deliver it: "+string(code)+" "+text))
	}
	if status/100 == 2 { // a word of its own for what it took
		return v
	}
	return later(status, amtp.CodeUnexpectedStatus, "the gateway says of the recipient: "+string(state))
}
