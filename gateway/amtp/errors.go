package amtp

import (
	"fmt"
	"maps"
	"time"
)

// Error is what a client may be told. Everything else that goes wrong is told as
// PROCESSING_FAILED without a word of the cause.
type Error struct {
	Status     int            // of HTTP
	Code       Code           // what programs switch on
	Message    string         // for people; names the next step
	Details    map[string]any // may be nil; values that JSON can hold
	RetryAfter time.Duration  // goes into the header Retry-After when positive
}

// Errorf makes an Error without details.
func Errorf(status int, code Code, format string, args ...any) *Error {
	return &Error{Status: status, Code: code, Message: fmt.Sprintf(format, args...)}
}

// With returns a copy of e with one more detail.
func (e *Error) With(name string, value any) *Error {
	c := *e
	c.Details = maps.Clone(e.Details)
	if c.Details == nil {
		c.Details = make(map[string]any, 1)
	}
	c.Details[name] = value
	return &c
}

func (e *Error) Error() string { return string(e.Code) + ": " + e.Message }

// ErrorBody is the JSON of an error. Message stands beside it once more, with the detail
// called error, because agentry's admin program prints that and nothing else.
type ErrorBody struct {
	Error   ErrorDetail `json:"error"`
	Message string      `json:"message"`
}

// ErrorDetail is the inner part of an ErrorBody.
type ErrorDetail struct {
	Code      Code           `json:"code"`
	Message   string         `json:"message"`
	Details   map[string]any `json:"details,omitempty"`
	Timestamp time.Time      `json:"timestamp"`
	RequestID string         `json:"request_id,omitempty"`
}

// Body is what goes to the client, with the specification's name of the code
// among the details, where there is no better one already.
func (e *Error) Body(now time.Time, requestID string) ErrorBody {
	if name := e.Code.AMTP(); name != "" && e.Details["amtp_code"] == nil {
		e = e.With("amtp_code", name)
	}
	message := e.Message
	if why, ok := e.Details["error"].(string); ok {
		message += ": " + why
	}
	return ErrorBody{
		Error:   ErrorDetail{e.Code, e.Message, e.Details, now.UTC(), requestID},
		Message: message,
	}
}
