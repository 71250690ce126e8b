package gateway

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"maps"
	"net/http"
	"strconv"
	"time"

	"amesh/gateway/amtp"
	"amesh/gateway/store"
)

// write answers.
func (s *Server) write(w http.ResponseWriter, out reply) {
	var b []byte
	switch body := out.body.(type) {
	case nil:
	case json.RawMessage:
		b = body
	default:
		var whole bytes.Buffer
		encoder := json.NewEncoder(&whole)
		encoder.SetEscapeHTML(false) // what a sender wrote stays as it is
		err := encoder.Encode(body)
		if b = bytes.TrimSuffix(whole.Bytes(), []byte("\n")); err != nil {
			s.log.Error("answer failed", "err", err)
			out.status, b = http.StatusInternalServerError, []byte(`{"error":{"code":"PROCESSING_FAILED","message":"internal error"}}`)
		}
	}
	h := w.Header()
	maps.Copy(h, out.header)
	if out.body != nil {
		h["Content-Type"] = jsonTypes
	}
	if out.status == 0 {
		out.status = http.StatusOK
	}
	w.WriteHeader(out.status)
	if len(b) > 0 {
		_, _ = w.Write(b) // the client may be gone
	}
}

// jsonTypes is shared by all answers; net/http does not change what it is given.
var jsonTypes = []string{"application/json; charset=utf-8"}

// refuse answers with an error.
func (s *Server) refuse(w *observed, e *amtp.Error) {
	w.code = e.Code
	out := reply{status: e.Status, header: http.Header{}}
	if e.RetryAfter > 0 {
		// Rounded up: who comes back at once after the pause is not to be sent away again.
		out.header.Set("Retry-After", strconv.FormatInt(int64((e.RetryAfter+time.Second-1)/time.Second), 10))
	}
	if e.Status == http.StatusUnauthorized {
		out.header.Set("WWW-Authenticate", "Bearer")
	}
	out.body = e.Body(w.begun, w.id)
	s.write(w, out)
}

// refusal is what a client is told of an error.
func (s *Server) refusal(r *request, err error) *amtp.Error {
	if e, ok := errors.AsType[*amtp.Error](err); ok {
		return e
	}
	gone := r.client.Err() != nil // it is the client who gave up
	if gone || store.Unavailable(err) || errors.Is(err, context.DeadlineExceeded) {
		if !gone {
			s.log.Warn("request not answered", "method", r.Method, "route", r.Pattern, "request_id", r.id, "err", err)
		}
		e := amtp.Errorf(http.StatusServiceUnavailable, amtp.CodeServiceUnavailable, "the database does not answer: try again")
		e.RetryAfter = s.limits.RetryAfter
		return e
	}
	s.log.Error("request failed", "method", r.Method, "route", r.Pattern, "request_id", r.id, "err", err)
	return amtp.Errorf(http.StatusInternalServerError, amtp.CodeProcessingFailed, "internal error: the operator finds it in the log under the request's id")
}
