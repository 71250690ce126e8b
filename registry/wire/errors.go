package wire

import (
	"errors"
	"fmt"
	"net/http"
	"time"
)

// Code names an error for programs. The list is closed and only grows.
type Code string

// The codes.
const (
	CodeMalformed         Code = "malformed"          // 400: the request cannot be read
	CodeInvalid           Code = "invalid"            // 400: a value is not acceptable
	CodeKeyInvalid        Code = "key_invalid"        // 400: a key is no key, or of low order
	CodeSignatureInvalid  Code = "signature_invalid"  // 401: whatever is wrong with it
	CodeSignatureRequired Code = "signature_required" // 401: of the kind that covers the request
	CodeForbidden         Code = "forbidden"          // 403
	CodeNotFound          Code = "not_found"          // 404
	CodeNoRoute           Code = "no_route"           // 404, 405: no such endpoint or method
	CodeConflict          Code = "conflict"           // 409
	CodeTooLarge          Code = "too_large"          // 413
	CodeMediaType         Code = "media_type"         // 415
	CodeRateLimited       Code = "rate_limited"       // 429
	CodeInternal          Code = "internal"           // 500: a fault of the registry
	CodeStarting          Code = "starting"           // 503: no database yet
	CodeUnavailable       Code = "unavailable"        // 503: the database does not answer
)

// Error is a refusal as it travels.
type Error struct {
	Status     int           `json:"-"`
	RetryAfter time.Duration `json:"-"` // 0: nothing is said about it
	Text       string        `json:"error"`
	Code       Code          `json:"code"`
}

// Error makes it an error; the client adds the rest of the story.
func (e *Error) Error() string { return fmt.Sprintf("%s (%s)", e.Text, e.Code) }

// Errorf makes a refusal. Its text goes to a stranger.
func Errorf(status int, code Code, format string, args ...any) *Error {
	return &Error{Status: status, Code: code, Text: fmt.Sprintf(format, args...)}
}

// Invalid is the refusal of a value.
func Invalid(format string, args ...any) *Error {
	return Errorf(http.StatusBadRequest, CodeInvalid, format, args...)
}

// NotFound is the answer about something that is not there.
func NotFound(text string) *Error {
	return Errorf(http.StatusNotFound, CodeNotFound, "%s", text)
}

// SignatureFailed begins the text of every refusal of a signature (AgentMesh §3.1).
const SignatureFailed = "Signature verification failed: "

// The reasons of 0.2, word for word.
const (
	reasonFormat    = "Invalid signature format"
	reasonKey       = "Invalid public key format"
	reasonSignature = "Signature verification failed"
	reasonOld       = "Timestamp too old (replay protection)"
	reasonFuture    = "Timestamp in future"
	reasonMismatch  = "AMID mismatch"
	reasonTimestamp = "Invalid timestamp format"
)

// Unsigned is the refusal of a signature for a reason.
func Unsigned(reason string) *Error {
	return Errorf(http.StatusUnauthorized, CodeSignatureInvalid, "%s%s", SignatureFailed, reason)
}

// HasCode reports whether err is, or wraps, a refusal with that code.
func HasCode(err error, code Code) bool {
	e, ok := errors.AsType[*Error](err)
	return ok && e.Code == code
}
