package api

import (
	"fmt"
	"net/http"
)

// Problem is an error of the local API, RFC 9457 with our members. It is what
// the client's methods return for every answer that is not 2xx.
type Problem struct {
	Type   string `json:"type,omitempty"`
	Title  string `json:"title"`
	Status int    `json:"status"`
	Detail string `json:"detail,omitempty"`
	Code   Code   `json:"code"`
	Hint   string `json:"hint,omitempty" doc:"the next step"`
	Rule   string `json:"rule,omitempty" doc:"the rule that refused"`
}

// Error is the detail, or the title without one.
func (p *Problem) Error() string {
	if p.Detail != "" {
		return p.Detail
	}
	return p.Title
}

// Code names a problem for programs. The list only grows.
type Code string

// The codes of the local API. CodeUnreachable is made by the client itself.
const (
	CodeInvalid      Code = "invalid_request"    // 400 or 422
	CodeUnauthorized Code = "unauthorized"       // 401: no or wrong credential
	CodeForbidden    Code = "forbidden"          // 403: owner verb with an agent's credential
	CodeHost         Code = "host_not_allowed"   // 403
	CodeOrigin       Code = "origin_not_allowed" // 403
	CodeNotFound     Code = "not_found"          // 404
	CodeConflict     Code = "conflict"           // 409
	CodeRevoked      Code = "key_revoked"        // 409: a signing key has left for ever
	CodeNameTaken    Code = "name_taken"         // 409: another contact has the name
	CodeNameLike     Code = "name_confusable"    // 409: it could be taken for another contact's
	CodeExpired      Code = "invite_expired"     // 410
	CodeTooLarge     Code = "too_large"          // 413
	CodeNoSession    Code = "no_session"         // 409: the peer has not let our agent in yet
	CodeNoAnswer     Code = "no_answer"          // 504: the peer's node did not answer in time
	CodePolicy       Code = "policy_denied"      // 403
	CodeBusy         Code = "busy"               // 429 or 503
	CodeStorage      Code = "storage_failed"     // 500: the node stops to protect data
	CodeInternal     Code = "internal"           // 500
	CodeUnreachable  Code = "daemon_not_running"
)

// Problemf makes a Problem with a formatted detail.
func Problemf(status int, code Code, format string, args ...any) *Problem {
	return &Problem{Title: string(code), Status: status, Code: code, Detail: fmt.Sprintf(format, args...)}
}

// WithHint adds the next step and returns the same Problem.
func (p *Problem) WithHint(format string, args ...any) *Problem {
	p.Hint = fmt.Sprintf(format, args...)
	return p
}

// BodyTooLarge is the problem with a body of size bytes that exceeds MaxBody. The
// client and the server say the same.
func BodyTooLarge(size int) *Problem {
	return Problemf(http.StatusRequestEntityTooLarge, CodeTooLarge,
		"the body has %d bytes, a message holds at most %d", size, MaxBody).
		WithHint("split it, or send a link to it")
}
