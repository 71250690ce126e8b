package gateway_test

// Reasons that several answers share. "Checklist" and "divergence" are those of the AMTP
// contract that this gateway is held against.
const (
	jsonErrors  = "checklist 40: an unknown path is an error in JSON"
	noWorkflows = "workflows are not run here, and said not to be (UNSUPPORTED_COORDINATION)"
	retried     = "checklist 84: 5xx and network errors are tried again; agentry gives up after three tries in the request"
	schemasOn   = "agentry checks nothing when it is configured by its environment; here a registry means checks"
	mergedCopy  = "section 8: copies to several recipients under one id are one message with all of them, and none is lost"
)

// refusal are the places that differ where agentry took a message and we refuse it.
var refusal = []string{"status", "body.error", "body.message_id", "body.recipients", "body.status"}

// accepted are the places that differ where agentry failed and we take the message.
var accepted = []string{"status", "body.error", "body.message_id", "body.recipients"}

// intended are the answers that are meant to differ from agentry's, each with its
// reason.
var intended = map[string]divergence{
	"015-readme-send-test-domain.json": {reason: "row 17: the precise error", paths: []string{"body.recipients[0].error_code"}},
	"016-readme-status.json":           {reason: "checklist 45: attempts are counted", paths: []string{"body.attempts"}},
	"050-metrics-enabled.json":         {reason: "another time; and JSON has its charset as everywhere", paths: []string{"body.timestamp", "header.Content-Type"}},
	"051-metrics-disabled.json":        {reason: jsonErrors, paths: []string{"body", "header.Content-Type"}},

	"060-schema-list-pattern-readme.json": {reason: "divergence 8: patterns with a star work", paths: []string{"body.count", "body.schemas"}},
	"067-schema-update-breaking.json": {reason: "checklist 75: a breaking change is a conflict, unless forced",
		paths: []string{"status", "body.error", "body.message", "body.schema_id", "body.timestamp"}},
	"072-schema-validate-negotiated.json": {reason: "row 25: a negotiated version is told, both of them", paths: []string{"body.warnings"}},

	"112-send-display-name.json": {reason: "checklist 32: addresses are bare; agentry then looks for the domain \"a.local>\"",
		paths: []string{"body.error", "body.message_id", "body.recipients", "body.status"}},
	"115-send-same-id-new-key.json":     {reason: "cure 7: a message_id is given once, nobody's message is overwritten", paths: refusal},
	"116-get-overwritten.json":          {reason: "cure 7: the first message is still there", paths: []string{"body.payload"}},
	"121-send-idem-other-sender.json":   {reason: "checklist 24: keys are each sender's own", paths: []string{"body.message_id"}},
	"122-send-timestamp-garbage.json":   {reason: "checklist 30: a garbage timestamp is refused; agentry puts the current time in its place", paths: refusal},
	"131-send-duplicate-recipient.json": {reason: "checklist 33: a recipient twice is one", paths: []string{"body.recipients"}},

	"147-coord-parallel-no-responders.json": {reason: noWorkflows, paths: refusal},
	"155-coord-parallel-status.json":        {reason: "checklist 45", paths: []string{"body.attempts"}},
	"160-coord-sequential-inbox-p1.json":    {reason: noWorkflows, paths: []string{"body.messages[0].coordination"}},
	"161-coord-sequential-remote.json":      {reason: noWorkflows, paths: []string{"status", "body.error.code", "body.error.details"}},
	"325-db-mem-seq-first.json":             {reason: noWorkflows, paths: []string{"status", "body.error.code", "body.error.details"}},
	"326-db-mem-seq-again.json":             {reason: noWorkflows, paths: []string{"body.error", "body.message_id", "body.recipients", "body.status"}},

	"171-federate-two-inbox-bob.json":      {reason: mergedCopy, paths: []string{"body.messages[0].recipients"}},
	"172-federate-two-inbox-eve.json":      {reason: mergedCopy, paths: []string{"body.count", "body.messages"}},
	"176-federate-upper-domain.json":       {reason: "checklist 42: our domain in any case is ours", paths: []string{"status", "body.status", "body.recipients[0]"}},
	"177-federate-too-large-for-peer.json": {reason: "row 17: a recipient's error is the precise one", paths: []string{"body.recipients[0].error_code"}},
	"180-outbound-delivery-full.json":      {reason: "divergence 24: we say who we are; and ask for nothing compressed", paths: []string{"header.User-Agent", "header.Accept-Encoding"}},
	"182-outbound-delivery-minimal.json":   {reason: "the same; the version is said always", paths: []string{"header.User-Agent", "header.Accept-Encoding"}},
	"185-outbound-peer-500x3.json":         {reason: retried, paths: []string{"status", "body.status", "body.recipients[0].status", "body.recipients[0].error_code"}},
	"186-outbound-peer-dead.json":          {reason: retried, paths: []string{"status", "body.status", "body.recipients[0].status", "body.recipients[0].error_code"}},
	"187-outbound-peer-202.json":           {reason: "checklist 85: what a peer took over is not yet delivered", paths: []string{"status", "body.status", "body.recipients[0].status"}},
	"190-outbound-push.json":               {reason: "nothing compressed is asked for", paths: []string{"header.Accept-Encoding"}},
	"191-send-push-500.json": {reason: "checklist 106: a push is tried again", paths: []string{"status", "body.status", "body.recipients[0].status",
		"body.recipients[0].error_code", "body.recipients[0].delivery_mode", "body.recipients[0].local_delivery"}},

	"192-options-preflight.json": {reason: "answers are guarded alike, without exception",
		paths: []string{"header.Referrer-Policy", "header.X-Content-Type-Options", "header.X-Frame-Options", "header.X-Xss-Protection"}},
	"195-webhooks-missing.json":  {reason: jsonErrors, paths: []string{"body", "header.Content-Type"}},
	"196-traces-missing.json":    {reason: jsonErrors, paths: []string{"body", "header.Content-Type"}},
	"197-workflows-missing.json": {reason: jsonErrors, paths: []string{"body", "header.Content-Type"}},
	"200-rotate-missing.json":    {reason: "checklist 65: keys can be rotated; this agent does not exist", paths: []string{"body", "header.Content-Type"}},
	"201-wellknown-missing.json": {reason: jsonErrors, paths: []string{"body", "header.Content-Type"}},

	"305-db-send-dup-recipient.json":            {reason: "checklist 33", paths: []string{"body.recipients"}},
	"306-db-send-same-message-id.json":          {reason: "cure 7: the same message under another key is known by its id, not a 500", paths: accepted},
	"307-db-resend-same-key-after-restart.json": {reason: "checklist 25: a key is known after a restart, not a 500", paths: accepted},
	"311-db-schema-register-again.json":         {reason: "divergence 9: 409 for a schema that is there", paths: []string{"status", "body.error.code", "body.error.details.error"}},
	"312-db-schema-force.json":                  {reason: "checklist 75: force overrides", paths: []string{"status", "body.error"}},
	"315-db-schema-validate-bad.json":           {reason: schemasOn, paths: []string{"body.errors", "body.valid"}},
	"316-db-send-schema-invalid.json":           {reason: schemasOn, paths: refusal},
	"317-db-send-schema-unknown.json":           {reason: schemasOn, paths: refusal},

	"402-fanout-same-id-same-key-eve.json": {reason: mergedCopy, paths: []string{"body.recipients[0].address"}},
	"407-fanout-B-inbox-bob.json":          {reason: mergedCopy, paths: []string{"body.count", "body.messages"}},
	"411-fanout-C-inbox-bob.json":          {reason: mergedCopy, paths: []string{"body.count", "body.messages"}},
	"412-fanout-C-inbox-eve.json":          {reason: mergedCopy, paths: []string{"body.count", "body.messages"}},
	"415-fanout-D-inbox-eve.json":          {reason: mergedCopy, paths: []string{"body.count", "body.messages"}},
}

// everywhere are headers that differ in every answer.
var everywhere = map[string]string{
	"header.Access-Control-Allow-Headers":  "Prefer asks us to wait",
	"header.Access-Control-Allow-Methods":  "section 10: agentry's list leaves out methods that its API has",
	"header.Access-Control-Expose-Headers": "pages may read Retry-After too",
}
