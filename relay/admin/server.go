package admin

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"slices"
	"strconv"
	"time"

	"amesh/relay"
	"amesh/relay/ban"
)

// Config is what a Door needs.
type Config struct {
	// Relay is what is operated. Required.
	Relay *relay.Server
	// Exit ends the process in an orderly way once the relay is drained; nil leaves it.
	Exit func()
	// Logger gets what the operator does; nil is silence.
	Logger *slog.Logger
}

// Door serves the operator. Whoever reaches its listener may do everything.
type Door struct {
	relay *relay.Server
	exit  func()
	log   *slog.Logger
	mux   *http.ServeMux
}

// New checks the configuration. It starts nothing.
func New(cfg Config) (*Door, error) {
	if cfg.Relay == nil {
		return nil, errors.New("the operator's door needs a relay")
	}
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	if cfg.Exit == nil {
		cfg.Exit = func() {}
	}
	d := &Door{relay: cfg.Relay, exit: cfg.Exit, log: cfg.Logger, mux: http.NewServeMux()}
	d.mux.HandleFunc("GET /v1/top", d.top)
	d.mux.HandleFunc("GET /v1/bans", d.bans)
	d.mux.HandleFunc("POST /v1/bans", d.ban)
	d.mux.HandleFunc("DELETE /v1/bans", d.unban)
	d.mux.HandleFunc("POST /v1/drain", d.drain)
	return d, nil
}

// lifeKey finds the context of Serve in that of a request, which ends with the
// operator's patience.
type lifeKey struct{}

// Serve answers on l until ctx ends, then it closes l and returns nil.
func (d *Door) Serve(ctx context.Context, l net.Listener) error {
	srv := &http.Server{
		Handler: http.MaxBytesHandler(d.mux, maxBody), ReadHeaderTimeout: headerWait, ReadTimeout: headerWait, IdleTimeout: idleWait,
		ErrorLog:    slog.NewLogLogger(d.log.Handler(), slog.LevelDebug),
		BaseContext: func(net.Listener) context.Context { return context.WithValue(ctx, lifeKey{}, ctx) },
	}
	closed := make(chan struct{})
	stop := context.AfterFunc(ctx, func() {
		defer close(closed)
		bounded, cancel := context.WithTimeout(context.WithoutCancel(ctx), closeWait)
		defer cancel()
		_ = srv.Shutdown(bounded)
		_ = srv.Close()
	})
	err := srv.Serve(l)
	if !stop() {
		<-closed
	}
	if !errors.Is(err, http.ErrServerClosed) {
		return fmt.Errorf("operator's door: %w", err)
	}
	return nil
}

func (d *Door) top(w http.ResponseWriter, r *http.Request) {
	q := r.URL.Query()
	by := relay.Order(q.Get("by"))
	if by == "" {
		by = relay.ByFrames
	}
	n, err := strconv.Atoi(q.Get("n"))
	if err != nil || n < 1 || n > maxRows || !slices.Contains(relay.Orders, by) {
		refuse(w, http.StatusBadRequest, fmt.Sprintf("want n of 1 to %d and by of %v", maxRows, relay.Orders))
		return
	}
	agents, addresses := d.relay.Top(r.Context(), n, by)
	answer(w, Top{
		At: time.Now().UTC().Truncate(time.Second), By: by, Relay: glanceOf(d.relay.Stats()),
		Agents: notNil(agents), Addresses: notNil(addresses),
	})
}

func (d *Door) bans(w http.ResponseWriter, _ *http.Request) {
	answer(w, Bans{Bans: linesOf(d.relay.Bans())})
}

func (d *Door) ban(w http.ResponseWriter, r *http.Request) {
	var req BanRequest
	dec := json.NewDecoder(r.Body)
	dec.DisallowUnknownFields()
	if err := dec.Decode(&req); err != nil {
		refuse(w, http.StatusBadRequest, "not a request for a ban: "+err.Error())
		return
	}
	target, err := ban.ParseTarget(req.Target)
	switch {
	case err != nil:
		refuse(w, http.StatusBadRequest, err.Error())
		return
	case req.Seconds < 0 || req.Seconds > maxBan || len(req.Why) > ban.MaxWhy:
		refuse(w, http.StatusBadRequest, fmt.Sprintf("want at most %d seconds, and at most %d bytes of why", int64(maxBan), ban.MaxWhy))
		return
	}
	b := ban.Ban{Target: target, Since: time.Now().UTC().Truncate(time.Second), Why: req.Why}
	if req.Seconds > 0 {
		b.Until = b.Since.Add(time.Duration(req.Seconds) * time.Second)
	}
	if err := d.relay.Ban(b); err != nil {
		d.failed(w, err)
		return
	}
	lasts := "ever"
	if req.Seconds > 0 {
		lasts = (time.Duration(req.Seconds) * time.Second).String()
	}
	d.log.Info("banned", "target", target, "for", lasts)
	answer(w, Bans{Bans: linesOf([]ban.Ban{b})})
}

// maxBan is the longest ban that ends by itself, in seconds: a hundred years.
const maxBan = 100 * 365 * 24 * 3600

func (d *Door) unban(w http.ResponseWriter, r *http.Request) {
	target, err := ban.ParseTarget(r.URL.Query().Get("target"))
	if err != nil {
		refuse(w, http.StatusBadRequest, err.Error())
		return
	}
	there, err := d.relay.Unban(target)
	if err != nil {
		d.failed(w, err)
		return
	}
	if there {
		d.log.Info("ban removed", "target", target)
	}
	answer(w, Removed{Removed: there})
}

// drain goes on when the operator does not wait for its end.
func (d *Door) drain(w http.ResponseWriter, r *http.Request) {
	var req DrainRequest
	err := json.NewDecoder(r.Body).Decode(&req)
	if err != nil || req.Seconds < 0 || req.Seconds > int64(maxDrain/time.Second) {
		refuse(w, http.StatusBadRequest, fmt.Sprintf("want within_s of 0 to %d", int64(maxDrain/time.Second)))
		return
	}
	// Reading has its deadline; the answer has none.
	_ = http.NewResponseController(w).SetReadDeadline(time.Time{})
	life := r.Context().Value(lifeKey{}).(context.Context)
	left, err := d.relay.Drain(life, time.Duration(req.Seconds)*time.Second)
	if err != nil {
		d.failed(w, err)
		return
	}
	answer(w, Drained{Left: left})
	// The door closes with the process, and the answer shall be out by then.
	_ = http.NewResponseController(w).Flush()
	d.exit()
}

func (d *Door) failed(w http.ResponseWriter, err error) {
	status := http.StatusInternalServerError
	if errors.Is(err, ban.ErrFull) {
		status = http.StatusConflict
	}
	refuse(w, status, err.Error())
}

func linesOf(bans []ban.Ban) []ban.Line {
	lines := []ban.Line{}
	for _, b := range bans {
		lines = append(lines, ban.LineOf(b))
	}
	return lines
}

func notNil(list []relay.Busy) []relay.Busy {
	if list == nil {
		return []relay.Busy{}
	}
	return list
}

func refuse(w http.ResponseWriter, status int, text string) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(problem{Error: text})
}

func answer(w http.ResponseWriter, v any) {
	text, err := json.Marshal(v)
	if err != nil {
		refuse(w, http.StatusInternalServerError, err.Error())
		return
	}
	h := w.Header()
	h.Set("Content-Type", "application/json")
	h.Set("Content-Length", strconv.Itoa(len(text)))
	_, _ = w.Write(text) // the operator may have gone
}
