package gateway

import (
	"context"
	"encoding/json"
	"net/http"
	"net/url"
	"strings"
	"time"

	"amesh/gateway/amtp"
	"amesh/gateway/store"
)

// queueSubject is what administrators do about deliveries that wait or were given up.
func (s *Server) queueSubject() {
	const queue, dead = "/v1/admin/queue", "/v1/admin/deadletters"
	s.routes = append(s.routes,
		route{method: http.MethodGet, path: queue, may: s.admins, answer: s.queueList},
		route{method: http.MethodGet, path: queue + "/stats", may: s.admins, answer: s.queueStats},
		route{method: http.MethodPost, path: queue + "/flush", may: s.admins, answer: s.chosen((*store.Store).Expedite)},
		route{method: http.MethodGet, path: dead, may: s.admins, answer: s.deadLetters},
		route{method: http.MethodPost, path: dead + "/redrive", may: s.admins, answer: s.chosen((*store.Store).Redrive)},
		route{method: http.MethodPost, path: dead + "/purge", may: s.admins, answer: s.chosen(purge)},
		route{method: http.MethodGet, path: dead + "/{id}/{recipient}", may: s.admins, answer: s.deadLetter},
		route{method: http.MethodPost, path: dead + "/{id}/{recipient}/redrive", may: s.admins, answer: s.named((*store.Store).Redrive)},
		route{method: http.MethodDelete, path: dead + "/{id}/{recipient}", may: s.admins, answer: s.named(purge)},
	)
}

// change does something about deliveries, and returns to how many.
type change = func(st *store.Store, ctx context.Context, sel store.Selection, now time.Time) (store.Changed, error)

// purge is Purge as a change.
func purge(st *store.Store, ctx context.Context, sel store.Selection, _ time.Time) (store.Changed, error) {
	return st.Purge(ctx, sel)
}

// pending is a store.Delivery, as the API tells it.
type pending struct {
	MessageID    string     `json:"message_id"`
	Sender       string     `json:"sender"`
	Recipient    string     `json:"recipient"`
	Mode         store.Mode `json:"delivery_mode"`
	Target       string     `json:"target"`
	Status       amtp.State `json:"status"`
	Attempts     int        `json:"attempts"`
	Accepted     time.Time  `json:"accepted_at"`
	Next         time.Time  `json:"next_retry,omitzero"`
	Dead         time.Time  `json:"dead_since,omitzero"`
	ErrorCode    amtp.Code  `json:"error_code,omitempty"`
	ErrorMessage string     `json:"error_message,omitempty"`
}

func newDelivery(d store.Delivery) pending {
	return pending{d.MessageID, d.Sender, d.Address, d.Mode, d.Target, d.State, d.Attempts, d.Accepted, d.Next, d.Dead, d.Code, d.Text}
}

// deliveries is a page of them.
func deliveries(page store.Deliveries, sel store.Selection) reply {
	body := struct {
		Deliveries []pending `json:"deliveries"`
		Total      int       `json:"total"`
		Limit      int       `json:"limit"`
		Offset     int       `json:"offset"`
	}{make([]pending, len(page.Items)), page.Total, sel.Limit, sel.Offset}
	for i, d := range page.Items {
		body.Deliveries[i] = newDelivery(d)
	}
	return reply{body: body}
}

func (s *Server) queueList(r *request) (reply, error) {
	sel, err := selected(r.URL.Query())
	if err != nil {
		return reply{}, err
	}
	page, err := r.store.Queue(r.Context(), sel)
	if err != nil {
		return reply{}, err
	}
	return deliveries(page, sel), nil
}

func (s *Server) deadLetters(r *request) (reply, error) {
	sel, err := selected(r.URL.Query())
	if err != nil {
		return reply{}, err
	}
	page, err := r.store.DeadLetters(r.Context(), sel)
	if err != nil {
		return reply{}, err
	}
	return deliveries(page, sel), nil
}

func (s *Server) queueStats(r *request) (reply, error) {
	q, err := r.store.QueueStats(r.Context())
	if err != nil {
		return reply{}, err
	}
	type target struct {
		Target string    `json:"target"`
		Jobs   int       `json:"jobs"`
		Next   time.Time `json:"next,omitzero"`
	}
	targets := make([]target, len(q.Targets))
	for i, t := range q.Targets {
		targets[i] = target{t.Target, t.Jobs, t.Next}
	}
	return reply{body: struct {
		Queued    int       `json:"queued"`
		Retrying  int       `json:"retrying"`
		Leased    int       `json:"leased"`
		Dead      int       `json:"dead"`
		Oldest    time.Time `json:"oldest,omitzero"`
		Targets   []target  `json:"targets"`
		Timestamp time.Time `json:"timestamp"`
	}{q.Queued, q.Retrying, q.Leased, q.Dead, q.Oldest, targets, r.now.UTC()}}, nil
}

// deadLetter is one, with all tries that were made for its recipient.
func (s *Server) deadLetter(r *request) (reply, error) {
	sel, err := named(r)
	if err != nil {
		return reply{}, err
	}
	sel.Limit = 1
	page, err := r.store.DeadLetters(r.Context(), sel)
	if err != nil {
		return reply{}, err
	}
	if len(page.Items) == 0 {
		return reply{}, noDeadLetter()
	}
	tries, err := r.store.Attempts(r.Context(), sel.MessageID)
	if err != nil {
		return reply{}, err
	}
	body := struct {
		pending
		History []attempt `json:"attempt_history"`
	}{newDelivery(page.Items[0]), []attempt{}}
	for _, t := range tries {
		if t.Address == page.Items[0].Address {
			body.History = append(body.History, newAttempt(t))
		}
	}
	return reply{body: body}, nil
}

func noDeadLetter() *amtp.Error {
	return amtp.Errorf(http.StatusNotFound, amtp.CodeMessageNotFound, "no dead letter of that message and recipient")
}

// chosen answers with a change of what the body selects.
func (s *Server) chosen(do change) func(*request) (reply, error) {
	return func(r *request) (reply, error) {
		sel, err := bodySelection(r)
		if err != nil {
			return reply{}, err
		}
		done, err := do(r.store, r.Context(), sel, r.now)
		return counted(r, done), err
	}
}

// named answers with a change of the one dead letter in the path.
func (s *Server) named(do change) func(*request) (reply, error) {
	return func(r *request) (reply, error) {
		sel, err := named(r)
		if err != nil {
			return reply{}, err
		}
		done, err := do(r.store, r.Context(), sel, r.now)
		if err == nil && done.Count == 0 {
			err = noDeadLetter()
		}
		return counted(r, done), err
	}
}

func counted(r *request, done store.Changed) reply {
	next := done.Next.String()
	return reply{body: struct {
		Count     int       `json:"count"`
		More      bool      `json:"more"`
		Next      string    `json:"next,omitempty"` // for after of the next call
		Timestamp time.Time `json:"timestamp"`
	}{done.Count, next != "", next, r.now.UTC()}}
}

// named is the selection of what a path names.
func named(r *request) (store.Selection, error) {
	id, err := amtp.CheckMessageID(r.PathValue("id"))
	if err != nil {
		return store.Selection{}, amtp.Errorf(http.StatusBadRequest, amtp.CodeInvalidMessageID, "Invalid message ID format")
	}
	address, err := filterAddress(r.PathValue("recipient"))
	if err != nil {
		return store.Selection{}, amtp.Errorf(http.StatusBadRequest, amtp.CodeInvalidRecipient, "Recipient must be an address")
	}
	return store.Selection{MessageID: id, Address: address}, nil
}

// selected reads the filters of a listing. No filter selects all.
func selected(v url.Values) (store.Selection, error) {
	sel := store.Selection{Target: v.Get("target")}
	var err error
	if sel.Limit, sel.Offset, err = pageOf(v, listLimit, listMost); err != nil {
		return sel, err
	}
	if t := v.Get("before"); t != "" {
		if sel.Before, err = time.Parse(time.RFC3339, t); err != nil {
			return sel, amtp.Errorf(http.StatusBadRequest, amtp.CodeInvalidSinceFormat, "before: want a time as in RFC 3339")
		}
	}
	err = choose(&sel, v.Get("message_id"), v.Get("recipient"))
	sel.All = sel.MessageID == "" && sel.Address == "" && sel.Target == "" && sel.Before.IsZero()
	return sel, err
}

// bodySelection reads what is to be changed, which has to be said: nothing is not all.
func bodySelection(r *request) (store.Selection, error) {
	b, err := decode[struct {
		All       bool            `json:"all"`
		MessageID string          `json:"message_id"`
		Recipient string          `json:"recipient"`
		Target    string          `json:"target"`
		Before    json.RawMessage `json:"before"`
		Limit     int             `json:"limit"`
		After     string          `json:"after"`
	}](r)
	if err != nil {
		return store.Selection{}, err
	}
	sel := store.Selection{All: b.All, Target: b.Target, Limit: b.Limit}
	if len(b.Before) > 0 && json.Unmarshal(b.Before, &sel.Before) != nil {
		return sel, amtp.Errorf(http.StatusBadRequest, amtp.CodeInvalidRequestFormat, "before: want a time as in RFC 3339")
	}
	if err := choose(&sel, b.MessageID, b.Recipient); err != nil {
		return sel, err
	}
	if sel.After, err = store.ParsePlace(b.After); err != nil {
		return sel, amtp.Errorf(http.StatusBadRequest, amtp.CodeInvalidRequestFormat, "after: want next of the answer before, or nothing")
	}
	if sel.Limit < 0 {
		return sel, amtp.Errorf(http.StatusBadRequest, amtp.CodeInvalidLimit, "Limit must be positive, or left out to have no bound")
	}
	chosen := sel.MessageID != "" || sel.Address != "" || sel.Target != "" || !sel.Before.IsZero()
	if chosen == sel.All {
		return sel, amtp.Errorf(http.StatusBadRequest, amtp.CodeInvalidRequestFormat, "want message_id, recipient, target or before to choose by, or all")
	}
	return sel, nil
}

// choose puts a message and a recipient into a selection, and checks its target.
func choose(sel *store.Selection, id, recipient string) error {
	var err error
	if id != "" {
		if sel.MessageID, err = amtp.CheckMessageID(id); err != nil {
			return amtp.Errorf(http.StatusBadRequest, amtp.CodeInvalidMessageID, "Invalid message ID format")
		}
	}
	if sel.Address, err = filterAddress(recipient); err != nil {
		return amtp.Errorf(http.StatusBadRequest, amtp.CodeInvalidRecipient, "Recipient must be an address")
	}
	if sel.Target, err = filterTarget(sel.Target); err != nil {
		return amtp.Errorf(http.StatusBadRequest, amtp.CodeInvalidRequestFormat, "target: want a domain, or the address of an agent to whom messages are pushed")
	}
	return nil
}

// filterTarget is a target as the queue has it: a domain, or an agent in lower case.
func filterTarget(t string) (string, error) {
	if t == "" {
		return "", nil
	}
	if !strings.Contains(t, "@") {
		return amtp.ParseDomain(t)
	}
	a, err := amtp.ParseAddress(t)
	return a.Folded(), err
}
