package gateway

import (
	"context"
	"errors"
	"net/http"
	"strconv"
	"strings"
	"time"

	"amesh/gateway/amtp"
	"amesh/gateway/store"
)

// sent is the answer to a message that was taken. It waits, if it may, for other gateways
// and for a reply.
func (s *Server) sent(r *request, m *amtp.Message, receipt store.Receipt) (reply, error) {
	res := amtp.SendResult{
		MessageID: receipt.MessageID, Status: receipt.Status.Status, Recipients: receipt.Status.Recipients, WorkflowID: m.WorkflowID,
	}
	out := reply{}
	wait, forReply := s.cfg.RemoteWait, false
	if m.Sender.Domain == s.cfg.Domain {
		if n, ok := preferred(r.Header); ok {
			wait, forReply = min(n, s.limits.ReplyWait), true
			out.header = http.Header{"Preference-Applied": {"wait=" + strconv.Itoa(int(wait.Seconds()))}}
		} else if s.cfg.ReplyWindow > 0 {
			wait, forReply = s.cfg.ReplyWindow, true
		}
	}
	if wait > 0 && (forReply || !res.Status.Final()) {
		if err := s.wait(r, m.Sender.String(), &res, wait, forReply); err != nil {
			return reply{}, err
		}
	}
	s.metrics.Message(res.Status, res.Reply != nil, len(r.raw), s.cfg.Clock().Sub(r.now))
	out.status, out.body = s.statusCode(res), res
	return out, nil
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

// wait looks at a message whenever it changes, until all its recipients are at an end and,
// if one is wanted, a reply is there. What it has seen when the time is over counts.
func (s *Server) wait(r *request, sender string, res *amtp.SendResult, most time.Duration, forReply bool) error {
	changed, end, ok := s.watch.on(res.MessageID, s.limits.Waiters)
	if !ok {
		return nil
	}
	defer end()
	ctx, cancel := context.WithTimeout(r.Context(), most)
	defer cancel()
	for {
		done, err := s.look(ctx, r.store, sender, res, forReply)
		if ctx.Err() != nil && r.Context().Err() == nil {
			return nil
		}
		if done || err != nil {
			return err
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return r.Context().Err()
		case <-s.stopping:
			return nil
		}
	}
}

// look brings an answer up to date, and says whether there is nothing more to wait for.
func (s *Server) look(ctx context.Context, st *store.Store, sender string, res *amtp.SendResult, forReply bool) (bool, error) {
	status, err := st.Status(ctx, res.MessageID)
	if err != nil {
		return false, err
	}
	res.Status = status.Status
	now := make(map[string]amtp.RecipientStatus, len(status.Recipients))
	for _, rs := range status.Recipients {
		now[rs.Address] = rs
	}
	over, alive := true, false
	for i, rs := range res.Recipients {
		if latest, ok := now[rs.Address]; ok {
			res.Recipients[i] = latest
		}
		state := res.Recipients[i].Status
		over, alive = over && state.Final(), alive || state != amtp.Failed
	}
	if !forReply {
		return over, nil
	}
	m, err := st.Reply(ctx, sender, res.MessageID)
	switch {
	case err == nil:
		res.Reply = amtp.Assemble(m.Document, m.Recipients)
		return true, nil
	case errors.Is(err, store.ErrNotFound):
		return over && !alive, nil // nobody is left who could reply
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
