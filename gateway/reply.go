package gateway

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"amesh/gateway/amtp"
	"amesh/gateway/discovery"
	"amesh/gateway/schema"
	"amesh/gateway/store"
)

// sendAnswer is the body of an answer to a message that was taken.
type sendAnswer struct {
	amtp.SendResult
	// Warnings are what the sender should know of the schema.
	Warnings []schema.Problem `json:"warnings,omitempty"`
}

// sent is the answer to a message that was taken. It waits, if it may, for other gateways
// and for a reply.
func (s *Server) sent(r *request, m *amtp.Message, receipt store.Receipt, warnings []schema.Problem) (reply, error) {
	w := waiting{id: receipt.MessageID, status: receipt.Status}
	out := reply{}
	most := s.remoteWait(r, w.status)
	w.tried = true
	if m.Sender.Domain == s.cfg.Domain {
		if n, ok := preferred(r.Header); ok {
			most, w.sender = min(n, s.limits.ReplyWait), m.Sender.String()
			out.header = applied(most)
		} else if s.cfg.ReplyWindow > 0 {
			most, w.sender = s.cfg.ReplyWindow, m.Sender.String()
		}
	}
	if most > 0 && (w.sender != "" || !w.atEnd()) {
		if err := s.wait(r, &w, most); err != nil {
			return reply{}, err
		}
	}
	res := amtp.SendResult{
		MessageID: receipt.MessageID, Status: w.status.Status, Recipients: w.of(receipt.Status.Recipients),
		WorkflowID: m.WorkflowID, Reply: w.reply,
	}
	s.metrics.Message(res.Status, res.Reply != nil, len(r.raw), s.cfg.Clock().Sub(r.now))
	out.status, out.body = s.statusCode(res), sendAnswer{res, warnings}
	return out, nil
}

// nobodyWait is how long an answer that may wait does so where no other gateway is asked.
const nobodyWait = time.Second

// remoteWait is how long an answer may wait for what becomes of a message elsewhere. Where
// that is only to be written down, since the domains are known to have no gateway, our own
// database has more time for it than others have to answer. Who is known to be silent is
// not waited for.
func (s *Server) remoteWait(r *request, st amtp.MessageStatus) time.Duration {
	most := max(s.cfg.RemoteWait, nobodyWait)
	for _, to := range st.Recipients {
		if to.Status.Final() {
			continue
		}
		_, target, _ := strings.Cut(to.Address, "@")
		if target == s.cfg.Domain {
			target = to.Address
		}
		if s.cfg.RemoteWait == 0 || r.delivery.Doubtful(target) {
			return 0
		}
		_, _, err := s.discovery.Known(target)
		if e, ok := errors.AsType[*discovery.LookupError](err); !ok || e.Temporary() {
			most = s.cfg.RemoteWait
		}
	}
	return most
}

// applied tells a client that its preference to wait was heard.
func applied(most time.Duration) http.Header {
	return http.Header{"Preference-Applied": {"wait=" + strconv.Itoa(int(most.Seconds()))}}
}

// statusCode says in a number what became of a message.
func (s *Server) statusCode(res amtp.SendResult) int {
	switch {
	case res.Reply != nil:
		return http.StatusOK
	case s.cfg.StatusCodes == AsSpec:
		return http.StatusAccepted
	case res.Status == amtp.Delivered:
		return http.StatusOK
	case res.Status == amtp.Failed:
		return http.StatusBadRequest
	}
	return http.StatusAccepted
}

// waiting is a message that a request waits for.
type waiting struct {
	id     string
	status amtp.MessageStatus // as it was last seen
	// sender, unless it is empty, also waits for a reply.
	sender string
	// tried is enough: whoever failed and is tried again is not waited for.
	tried bool
	reply json.RawMessage
}

// names are the ids that replies may name: the message's own, and those under which its
// copies go to gateways that know keys, not recipients, where each is sent by itself.
func (w *waiting) names() []string {
	ids := []string{w.id}
	if w.sender == "" {
		return ids
	}
	for _, to := range w.status.Recipients {
		if !to.LocalDelivery {
			id, _ := amtp.ForRecipient(w.id, to.Address)
			ids = append(ids, id)
		}
	}
	return ids
}

// of is where some of the recipients are, in their order.
func (w *waiting) of(some []amtp.RecipientStatus) []amtp.RecipientStatus {
	for i := range some {
		for _, now := range w.status.Recipients {
			if now.Address == some[i].Address {
				some[i] = now
			}
		}
	}
	return some
}

// atEnd reports whether there is nothing more to wait for but a reply.
func (w *waiting) atEnd() bool {
	return !slices.ContainsFunc(w.status.Recipients, func(r amtp.RecipientStatus) bool {
		return !r.Status.Final() && !(w.tried && r.Status == amtp.Retrying)
	})
}

// wait looks at a message whenever it changes, until nothing more is to come or the time is
// over. Where too many wait already it looks once.
func (s *Server) wait(r *request, w *waiting, most time.Duration) error {
	changed, end, ok := s.watch.on(w.names(), s.limits.Waiters)
	if !ok {
		most = 0
	} else {
		defer end()
	}
	over := time.NewTimer(most)
	defer over.Stop()
	for {
		if done, err := s.look(r, w); done || err != nil {
			return err
		}
		select {
		case <-changed:
		case <-over.C:
			return nil
		case <-s.stopping:
			return nil
		case <-r.client.Done():
			return r.client.Err()
		}
	}
}

// look sees where a message is, and whether there is nothing more to wait for.
func (s *Server) look(r *request, w *waiting) (bool, error) {
	ctx, cancel := context.WithTimeout(r.client, s.limits.AnswerWait)
	defer cancel()
	var err error
	if w.status, err = r.store.Status(ctx, w.id); err != nil {
		return false, err
	}
	if w.sender == "" {
		return w.atEnd(), nil
	}
	m, err := r.store.Reply(ctx, w.sender, w.names())
	switch {
	case err == nil:
		w.reply = amtp.Assemble(m.Document, m.Recipients)
		return true, nil
	case errors.Is(err, store.ErrNotFound):
		// Where all have failed nobody is left who could reply.
		return !slices.ContainsFunc(w.status.Recipients, func(r amtp.RecipientStatus) bool { return r.Status != amtp.Failed }), nil
	}
	return false, err
}

// preferred is how long a client wants to wait (RFC 7240 §4.3).
func preferred(h http.Header) (time.Duration, bool) {
	for _, line := range h.Values("Prefer") {
		for p := range strings.SplitSeq(line, ",") {
			name, value, _ := strings.Cut(strings.TrimSpace(p), "=")
			if !strings.EqualFold(strings.TrimSpace(name), "wait") {
				continue
			}
			value, _, _ = strings.Cut(value, ";")
			if n, err := strconv.ParseUint(strings.TrimSpace(value), 10, 16); err == nil {
				return time.Duration(n) * time.Second, true
			}
		}
	}
	return 0, false
}
