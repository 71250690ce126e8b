package httpapi

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"reflect"
	"sync"
	"time"

	"github.com/danielgtaylor/huma/v2"
	"github.com/danielgtaylor/huma/v2/adapters/humago"

	"amesh/node/api"
)

// About is the part of every request under /v1. The guard has read and judged the
// agent already (agentIn); it stands here to be documented. It is exported, like
// One, only because huma overlooks embedded types that are not.
type About struct {
	Agent string `query:"agent" doc:"name of the agent the request is about; may be left out when there is one, and by an agent"`
}

// One is the part of a request that names a message, a knock, a contact or a peer.
type One struct {
	About
	ID string `path:"id" maxLength:"128"`
}

// aboutWith and oneWith are requests with a body that may be left out. They are aliases
// because huma names a schema after the type around it, where that has a name.
type (
	aboutWith[T any] = struct {
		About
		Body *T
	}
	oneWith[T any] = struct {
		One
		Body *T
	}
)

// bodied is an answer with a body.
type bodied[T any] struct{ Body T }

// list is a list on the wire: an object, so that it can grow.
type list[T any] struct {
	Items []T `json:"items" nullable:"false"`
}

// verb is one line of the API.
type verb struct {
	access access
	method string
	path   string
	id     string // operation id
	says   string // summary
	status int    // of success; 0: 200
}

// routing builds all routes.
func (s *Server) routing() huma.API {
	cfg := huma.DefaultConfig("amesh local API", s.cfg.Version)
	cfg.CreateHooks = nil // $schema links
	cfg.DocsPath, cfg.SchemasPath = "", ""
	cfg.OpenAPIPath = "" // huma would serve it past the guard's table, in four forms
	// The second is how huma finds the format of application/problem+json.
	cfg.Formats = map[string]huma.Format{"application/json": huma.DefaultJSONFormat, "json": huma.DefaultJSONFormat}
	cfg.RejectUnknownQueryParameters = true
	cfg.Transformers = []huma.Transformer{reshape}
	cfg.Components.SecuritySchemes = map[string]*huma.SecurityScheme{"token": {
		Type: "http", Scheme: "bearer", Description: "owner.token or agents/NAME/token; not needed on the unix socket"}}
	door := humago.New(s.mux, cfg)

	s.probes(door)
	s.views(door)
	s.outgoing(door)
	s.incoming(door)
	s.owned(door)
	s.directory(door)
	s.introductions(door)
	s.diagnosis(door)
	return door
}

// describe makes the OpenAPI document of all routes. It builds them a second time, for the
// schemas of the first only judge requests, see register.
func describe(cfg Config) (json.RawMessage, error) {
	s := &Server{cfg: cfg, mux: http.NewServeMux(), routes: make(map[string]access)}
	document := s.routing().OpenAPI()
	// huma describes its own kind of error although nobody gets to see it.
	schemas := document.Components.Schemas.Map()
	delete(schemas, "ErrorModel")
	delete(schemas, "ErrorDetail")
	return json.Marshal(document)
}

// register builds the routes that are served. The document that describes them takes longer
// than all of them, and is made when somebody asks for it.
func (s *Server) register() error {
	s.document = sync.OnceValues(func() (json.RawMessage, error) { return describe(s.cfg) })
	schemas := s.routing().OpenAPI().Components.Schemas.Map()
	// huma's test for base64 refuses an empty body, and the decoder looks at every
	// character anyway.
	body := schemas["SendRequest"].Properties["body"]
	if body == nil || body.ContentEncoding != "base64" {
		return errors.New("the schema of a message's body is not where it was")
	}
	body.ContentEncoding = ""
	return nil
}

// route adds one verb. Whatever do returns as an error becomes a problem.
func route[I, O any](s *Server, door huma.API, v verb, do func(context.Context, *I) (O, error)) {
	op := huma.Operation{
		OperationID: v.id, Method: v.method, Path: v.path, Summary: v.says, DefaultStatus: v.status,
		MaxBodyBytes:    -1, // the guard has read the body, within Limits
		BodyReadTimeout: -1, // likewise
		Responses: map[string]*huma.Response{"default": {
			Description: "Problem", Content: map[string]*huma.MediaType{problemType: {
				Schema: door.OpenAPI().Components.Schemas.Schema(reflect.TypeFor[api.Problem](), true, "Problem")}}}},
	}
	if v.access != anybody {
		op.Security = []map[string][]string{{"token": {}}}
	}
	if v.access == ownerOnly {
		op.Description = "For the owner only."
	}
	huma.Register(door, op, func(ctx context.Context, in *I) (*bodied[O], error) {
		out, err := do(ctx, in)
		if err != nil {
			return nil, refusal{s.problemOf(ctx, err)}
		}
		return &bodied[O]{Body: out}, nil
	})
	s.routes[v.method+" "+v.path] = v.access
}

// alive is the answer of the probes; it tells strangers nothing else.
type alive struct {
	Status string `json:"status" enum:"ok"`
}

// probes are the routes for supervisors, which have no token.
func (s *Server) probes(door huma.API) {
	route(s, door, verb{access: anybody, method: http.MethodGet, path: "/livez", id: "livez", says: "Whether the server answers"},
		func(context.Context, *struct{}) (alive, error) { return alive{"ok"}, nil })
	route(s, door, verb{access: anybody, method: http.MethodGet, path: "/readyz", id: "readyz", says: "Whether the node works"},
		func(ctx context.Context, _ *struct{}) (alive, error) {
			ctx, cancel := context.WithTimeout(ctx, s.cfg.Limits.ReadyTimeout)
			defer cancel()
			if _, err := s.cfg.Backend.Status(ctx, ""); err != nil {
				s.cfg.Logger.DebugContext(ctx, "local api: not ready", "err", err)
				return alive{}, api.Problemf(http.StatusServiceUnavailable, api.CodeBusy, "the node is not ready")
			}
			return alive{"ok"}, nil
		})
}

// views are the routes that say what there is.
func (s *Server) views(door huma.API) {
	b := s.cfg.Backend
	get := func(path, id, says string) verb {
		return verb{access: ownerOrAgent, method: http.MethodGet, path: path, id: id, says: says}
	}
	route(s, door, get("/v1/node", "node", "The node at a glance"),
		func(ctx context.Context, _ *About) (api.Status, error) { return b.Status(ctx, agentIn(ctx)) })
	route(s, door, get("/v1/identity", "identity", "An agent's public self"),
		func(ctx context.Context, _ *About) (api.Identity, error) { return b.Identity(ctx, agentIn(ctx)) })
	route(s, door, get("/v1/peers", "peers", "Agents that this one has to do with"),
		func(ctx context.Context, _ *About) (list[api.Peer], error) { return listed(b.Peers(ctx, agentIn(ctx))) })
	route(s, door, get("/v1/contacts", "contacts", "Agents that are remembered"),
		func(ctx context.Context, _ *About) (list[api.Contact], error) {
			return listed(b.Contacts(ctx, agentIn(ctx)))
		})
	route(s, door, get("/v1/contacts/{id}/comparison", "compare", "What the owners of two agents compare"),
		func(ctx context.Context, in *One) (api.Comparison, error) { return b.Compare(ctx, agentIn(ctx), in.ID) })
	route(s, door, get("/v1/keys", "keys", "An agent's public keys and their age"),
		func(ctx context.Context, _ *About) (api.Keys, error) { return b.Keys(ctx, agentIn(ctx)) })
	route(s, door, get("/v1/policy", "policy", "The policy in force"),
		func(ctx context.Context, _ *About) (api.Policy, error) { return b.Policy(ctx, agentIn(ctx)) })
	route(s, door, get("/v1/openapi.json", "openapi", "This document"),
		func(context.Context, *About) (json.RawMessage, error) { return s.document() })
}

// listed makes a list, in which nothing is an empty list and not null.
func listed[T any](items []T, err error) (list[T], error) {
	if items == nil {
		items = []T{}
	}
	return list[T]{Items: items}, err
}

// outgoing are the routes of the outbox.
func (s *Server) outgoing(door huma.API) {
	b := s.cfg.Backend
	route(s, door, verb{access: ownerOrAgent, method: http.MethodPost, path: "/v1/messages", id: "send", status: http.StatusAccepted,
		says: "Send a message; it is on disk when this answers"},
		func(ctx context.Context, in *struct {
			About
			Key  string `header:"Idempotency-Key" maxLength:"128" pattern:"^[!-~]*$" doc:"the same request under the same key is answered, not sent again"`
			Body api.SendRequest
		}) (api.Message, error) {
			if len(in.Body.Body) > api.MaxBody {
				return api.Message{}, api.BodyTooLarge(len(in.Body.Body))
			}
			if err := s.checkWait(in.Body.Wait, in.Body.TimeoutMS); err != nil {
				return api.Message{}, err
			}
			return b.Send(ctx, agentIn(ctx), in.Body, in.Key)
		})
	route(s, door, verb{access: ownerOrAgent, method: http.MethodGet, path: "/v1/messages", id: "messages", says: "Outgoing messages, newest first"},
		func(ctx context.Context, in *struct {
			About
			Limit int `query:"limit" minimum:"0" doc:"at most this many; default 100"`
		}) (list[api.Message], error) {
			return listed(b.Messages(ctx, agentIn(ctx), in.Limit))
		})
	route(s, door, verb{access: ownerOrAgent, method: http.MethodGet, path: "/v1/messages/{id}", id: "message",
		says: "One outgoing message, now or when it has reached a state"},
		func(ctx context.Context, in *struct {
			One
			Wait      string `query:"wait" enum:"accepted,relayed,delivered,leased,handled"`
			TimeoutMS int64  `query:"timeout_ms" minimum:"0"`
		}) (api.Message, error) {
			if err := s.checkWait(api.State(in.Wait), in.TimeoutMS); err != nil {
				return api.Message{}, err
			}
			return b.Message(ctx, agentIn(ctx), in.ID, api.State(in.Wait), time.Duration(in.TimeoutMS)*time.Millisecond)
		})
	route(s, door, verb{access: ownerOrAgent, method: http.MethodPost, path: "/v1/messages/{id}/cancel", id: "cancel", says: "Take a message back"},
		func(ctx context.Context, in *oneWith[struct{}]) (api.Message, error) {
			return b.Cancel(ctx, agentIn(ctx), in.ID)
		})
}

// checkWait refuses to wait for what cannot be reached, or for too long.
func (s *Server) checkWait(state api.State, ms int64) error {
	switch longest := s.cfg.Limits.MaxWait; {
	case state != "" && !state.Waitable():
		return api.Problemf(http.StatusUnprocessableEntity, api.CodeInvalid, "nobody can wait for the state %.40q", state).
			WithHint("wait for accepted, relayed, delivered, leased or handled")
	case ms < 0, ms > longest.Milliseconds():
		return api.Problemf(http.StatusUnprocessableEntity, api.CodeInvalid, "timeout_ms is 0 to %d", longest.Milliseconds()).
			WithHint("ask for less, and again")
	}
	return nil
}

// incoming are the routes of the inbox.
func (s *Server) incoming(door huma.API) {
	b := s.cfg.Backend
	post := func(path, id, says string) verb {
		return verb{access: ownerOrAgent, method: http.MethodPost, path: path, id: id, says: says}
	}
	route(s, door, verb{access: ownerOrAgent, method: http.MethodGet, path: "/v1/inbox", id: "inbox", says: "Incoming messages, oldest first"},
		func(ctx context.Context, in *struct {
			About
			All    bool   `query:"all" doc:"also what was handled, failed or refused"`
			From   string `query:"from" doc:"only of this peer, AMID or DID"`
			Limit  int    `query:"limit" minimum:"0" maximum:"500" doc:"default 100"`
			Cursor string `query:"cursor" doc:"next of the page before"`
		}) (api.InboxPage, error) {
			page, err := b.Inbox(ctx, agentIn(ctx), api.InboxQuery{All: in.All, From: in.From, Limit: in.Limit, Cursor: in.Cursor})
			if page.Items == nil {
				page.Items = []api.InboxItem{}
			}
			return page, err
		})
	route(s, door, post("/v1/inbox/lease", "lease", "Take new messages to work on"),
		func(ctx context.Context, in *aboutWith[api.LeaseRequest]) (list[api.InboxMessage], error) {
			return listed(b.Lease(ctx, agentIn(ctx), orZero(in.Body)))
		})
	route(s, door, post("/v1/inbox/{id}/read", "read", "One message with its body, leased when asked"),
		func(ctx context.Context, in *oneWith[readRequest]) (api.InboxMessage, error) {
			return b.Read(ctx, agentIn(ctx), in.ID, time.Duration(orZero(in.Body).LeaseSeconds)*time.Second)
		})
	route(s, door, post("/v1/inbox/{id}/ack", "ack", "End the work on a message"),
		func(ctx context.Context, in *oneWith[api.AckRequest]) (api.InboxItem, error) {
			return b.Ack(ctx, agentIn(ctx), in.ID, orZero(in.Body))
		})
	route(s, door, post("/v1/inbox/{id}/nack", "nack", "Give a leased message back"),
		func(ctx context.Context, in *oneWith[struct{}]) (api.InboxItem, error) {
			return b.Nack(ctx, agentIn(ctx), in.ID)
		})
}

// readRequest is the body of a read.
type readRequest struct {
	LeaseSeconds int `json:"lease_s,omitempty" minimum:"0" maximum:"3600" doc:"lease the message for so long; default not"`
}

// orZero is the body of a write that may be left out.
func orZero[T any](p *T) T {
	if p == nil {
		var zero T
		return zero
	}
	return *p
}

// owned are the routes by which the owner decides.
func (s *Server) owned(door huma.API) {
	b := s.cfg.Backend
	route(s, door, verb{access: ownerOnly, method: http.MethodGet, path: "/v1/knocks", id: "knocks", says: "Requests to talk, newest first"},
		func(ctx context.Context, _ *About) (list[api.Knock], error) {
			return listed(b.Knocks(ctx, agentIn(ctx)))
		})
	for _, answer := range []string{"approve", "refuse"} {
		approve := answer == "approve"
		route(s, door, verb{access: ownerOnly, method: http.MethodPost, path: fmt.Sprintf("/v1/knocks/{id}/%s", answer), id: answer,
			says: "Answer a waiting knock"},
			func(ctx context.Context, in *oneWith[api.DecideRequest]) (api.Knock, error) {
				return b.Decide(ctx, agentIn(ctx), in.ID, approve, orZero(in.Body))
			})
	}
	route(s, door, verb{access: ownerOnly, method: http.MethodPost, path: "/v1/contacts/{id}/verify", id: "verify",
		says: "Say whether the keys match"},
		func(ctx context.Context, in *struct {
			One
			Body api.VerifyRequest
		}) (api.Contact, error) {
			return b.Verify(ctx, agentIn(ctx), in.ID, in.Body)
		})
	route(s, door, verb{access: ownerOnly, method: http.MethodPost, path: "/v1/backup", id: "backup", says: "Write an encrypted backup to a new file"},
		func(ctx context.Context, in *struct {
			About
			Body api.BackupRequest
		}) (api.Backup, error) {
			return b.Backup(ctx, in.Body)
		})
	route(s, door, verb{access: ownerOnly, method: http.MethodPost, path: "/v1/keys/rotate", id: "rotate-keys", says: "Make new exchange and prekeys"},
		func(ctx context.Context, _ *aboutWith[struct{}]) (api.Keys, error) {
			return b.RotateKeys(ctx, agentIn(ctx))
		})
	route(s, door, verb{access: ownerOnly, method: http.MethodPost, path: "/v1/keys/revoke", id: "revoke", says: "Make the agent's signing key leave for ever"},
		func(ctx context.Context, in *struct {
			About
			Body api.RevokeRequest
		}) (api.Revocation, error) {
			return b.Revoke(ctx, agentIn(ctx), in.Body)
		})
	route(s, door, verb{access: ownerOnly, method: http.MethodGet, path: "/v1/sessions", id: "sessions", says: "Sessions, the ones used last first"},
		func(ctx context.Context, in *struct {
			About
			Peer string `query:"peer" doc:"only with this peer, AMID or DID"`
		}) (list[api.Session], error) {
			return listed(b.Sessions(ctx, agentIn(ctx), in.Peer))
		})
	route(s, door, verb{access: ownerOnly, method: http.MethodPost, path: "/v1/peers/{id}/kill", id: "kill", says: "Close the sessions with a peer"},
		func(ctx context.Context, in *oneWith[struct{}]) (list[api.Session], error) {
			return listed(b.Kill(ctx, agentIn(ctx), in.ID))
		})
	for _, word := range []string{"block", "unblock"} {
		route(s, door, verb{access: ownerOnly, method: http.MethodPost, path: "/v1/peers/{id}/" + word, id: word,
			says: "Change the policy's block list by one peer"},
			func(ctx context.Context, in *oneWith[struct{}]) (api.Policy, error) {
				return b.Block(ctx, agentIn(ctx), in.ID, word == "block")
			})
	}
	route(s, door, verb{access: ownerOnly, method: http.MethodPatch, path: "/v1/policy", id: "set-policy", says: "Change one key of the policy"},
		func(ctx context.Context, in *struct {
			About
			Body api.PolicyChange
		}) (api.Policy, error) {
			return b.SetPolicy(ctx, agentIn(ctx), in.Body)
		})
}
