package registry

import (
	"context"
	"encoding/json"
	"maps"
	"net/http"
	"reflect"
	"time"

	"github.com/danielgtaylor/huma/v2"
	"github.com/danielgtaylor/huma/v2/adapters/humago"

	"amesh/registry/wire"
)

// OfAgent is the part of a request that names an agent. It is exported, like the others,
// only because huma overlooks embedded types that are not.
type OfAgent struct {
	AMID string `path:"amid" maxLength:"64" doc:"AMID or DID"`
}

// SignedBy is the part of a request that its agent signs as a whole.
type SignedBy struct {
	Signature string `header:"Amesh-Signature" required:"true" doc:"signature of the whole request (registry.md)"`
}

// Asked is the part of a question, which may be signed to be counted by name.
type Asked struct {
	Signature string `header:"Amesh-Signature" doc:"optional: a registered agent's questions are counted apart from its neighbours'"`
}

// Named is the part of a request that names a schema.
type Named struct {
	ID string `path:"id" maxLength:"200" doc:"OWNER/NAME/v1: the owner is the publisher's AMID, or a word that a verified agent took first"`
}

// openAPISubject describes our part of the API, from the types with which it is served.
func (s *Server) openAPISubject() error {
	s.finding.api = describe()
	spec, err := json.Marshal(s.finding.api)
	if err != nil {
		return err
	}
	s.routes = append(s.routes, route{method: http.MethodGet, path: "/openapi.json", early: true,
		read: func(*request) (reply, error) { return reply{body: json.RawMessage(spec)}, nil }})
	return nil
}

// document adds one operation to a document. huma reads the types; nothing is served by
// it. With a content type the answer is bytes of it and not JSON.
func document[I, O any](api huma.API, op huma.Operation, contentType string) {
	op.DefaultStatus = http.StatusOK
	if contentType != "" {
		op.Responses = map[string]*huma.Response{"200": {Description: "OK", Content: map[string]*huma.MediaType{
			contentType: {Schema: &huma.Schema{Type: huma.TypeString, Format: "binary"}}}}}
	}
	huma.Register(api, op, func(context.Context, *I) (*O, error) { return nil, nil })
	refusal := &huma.Response{Description: "Refusal", Content: map[string]*huma.MediaType{"application/json": {
		Schema: api.OpenAPI().Components.Schemas.Schema(reflect.TypeFor[wire.Error](), true, "Error")}}}
	said := api.OpenAPI().Paths[op.Path]
	for _, o := range []*huma.Operation{said.Get, said.Put, said.Post} {
		if o != nil && o.OperationID == op.OperationID {
			maps.DeleteFunc(o.Responses, func(code string, _ *huma.Response) bool { return code[0] != '2' }) // huma's own
			o.Responses["default"] = refusal
		}
	}
}

// answers is an answer in JSON.
type answers[T any] struct{ Body T }

// nothing is the answer of an operation whose content type says all.
type nothing struct{}

func describe() *huma.OpenAPI {
	cfg := huma.DefaultConfig("amesh registry", "1")
	cfg.Info.Description = "What a registry of amesh serves beside the AgentMesh 0.2 API, which stands under /v1/registry."
	cfg.CreateHooks, cfg.DocsPath, cfg.SchemasPath, cfg.OpenAPIPath = nil, "", "", ""
	cfg.Components.Schemas.RegisterTypeAlias(reflect.TypeFor[wire.Time](), reflect.TypeFor[time.Time]())
	api := humago.New(http.NewServeMux(), cfg)
	describeSearch(api)
	describeObjects(api)
	describeSchemas(api)
	describeTrust(api)
	describeProof(api)
	// huma describes its own kind of error although nobody gets to see it.
	schemas := api.OpenAPI().Components.Schemas.Map()
	delete(schemas, "ErrorModel")
	delete(schemas, "ErrorDetail")
	return api.OpenAPI()
}

func get(path, id, says, more string) huma.Operation {
	return huma.Operation{Method: http.MethodGet, Path: path, OperationID: id, Summary: says, Description: more}
}

func put(path, id, says, more string) huma.Operation {
	op := get(path, id, says, more)
	op.Method = http.MethodPut
	return op
}

func post(path, id, says, more string) huma.Operation {
	op := get(path, id, says, more)
	op.Method = http.MethodPost
	return op
}

func describeSearch(api huma.API) {
	document[struct {
		Asked
		wire.SearchQuery
	}, answers[wire.SearchPage]](api, get("/v1/amesh/search", "search", "Find agents by what they can do",
		"All conditions must hold of an agent. The best reputation comes first."), "")
	document[struct {
		Asked
		OfAgent
	}, answers[wire.AgentView]](api, get("/v1/amesh/agents/{amid}", "agent", "One agent with what its card says", ""), "")
	document[struct{}, answers[wire.OurStats]](api, get("/v1/amesh/stats", "stats", "How much there is, rounded", ""), "")
}

func describeObjects(api huma.API) {
	type upload struct {
		SignedBy
		OfAgent
		RawBody []byte `contentType:"application/octet-stream"`
	}
	type question struct {
		Asked
		OfAgent
	}
	document[upload, answers[wire.Kept]](api, put("/v1/amesh/cards/{amid}", "put-card", "Publish a signed agent card",
		"At most 16 KiB, by its own agent, with a sequence above that of the card that is kept."), "")
	document[question, nothing](api, get("/v1/amesh/cards/{amid}", "card", "An agent's card, the bytes as signed", "Verify them."), wire.Binary)
	document[upload, answers[wire.Kept]](api, put("/v1/amesh/records/{amid}", "put-record", "Leave a signed agent record",
		"At most 8 KiB, the same bytes as in the DHT, not older than the record that is kept."), "")
	document[question, nothing](api, get("/v1/amesh/records/{amid}", "record", "An agent's record, the bytes as signed", "Verify them."), wire.Binary)
	document[struct {
		SignedBy
		OfAgent
		Body wire.OneTimeKeysRequest
	}, answers[wire.OneTimeKeysReply]](api, post("/v1/amesh/one-time-keys/{amid}", "put-one-time-keys", "Leave one-time keys",
		"Each is signed by itself and of the epoch of the agent's record, which must be there."), "")
	document[question, answers[wire.TakenKeys]](api, post("/v1/amesh/one-time-keys/{amid}/take", "take-one-time-keys",
		"Take one key of each kind", "No key is ever handed out twice. Who asks too often, or too late, gets none and no error."), "")
}

func describeSchemas(api huma.API) {
	document[struct {
		SignedBy
		Named
		RawBody []byte `contentType:"application/schema+json"`
	}, answers[wire.Schema]](api, put("/v1/amesh/schemas/{id}", "put-schema", "Publish a JSON schema",
		"At most 64 KiB. What is published under an id never changes. The slashes of the id are not escaped."), "")
	document[struct {
		Asked
		Named
	}, nothing](api, get("/v1/amesh/schemas/{id}", "schema", "A JSON schema, as published", ""), schemaType)
	document[struct {
		Asked
		Publisher string `query:"publisher" doc:"AMID; only what this agent published"`
		Limit     int    `query:"limit" minimum:"1" maximum:"50" default:"20"`
		Cursor    string `query:"cursor" maxLength:"200" doc:"next of the page before"`
	}, answers[wire.SchemaPage]](api, get("/v1/amesh/schemas", "schemas", "The schemas, in the order of their ids", ""), "")
}
