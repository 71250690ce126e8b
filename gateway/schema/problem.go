package schema

// Code is the kind of a problem, for programs. The list is append-only.
type Code string

// The codes of agentry.
const (
	CodeTypeMismatch      Code = "TYPE_MISMATCH"
	CodeRequiredMissing   Code = "REQUIRED_FIELD_MISSING"
	CodeInvalidFormat     Code = "INVALID_FORMAT"
	CodeValueTooSmall     Code = "VALUE_TOO_SMALL"
	CodeValueTooLarge     Code = "VALUE_TOO_LARGE"
	CodeInvalidEnumValue  Code = "INVALID_ENUM_VALUE"
	CodeUnknownProperty   Code = "UNKNOWN_PROPERTY"
	CodeInvalidJSON       Code = "INVALID_JSON"
	CodePayloadTooLarge   Code = "PAYLOAD_TOO_LARGE"
	CodeSchemaRequired    Code = "SCHEMA_REQUIRED"
	CodeInvalidSchemaID   Code = "INVALID_SCHEMA_ID"
	CodeNegotiationFailed Code = "SCHEMA_NEGOTIATION_FAILED"
	CodePipelineFailed    Code = "PIPELINE_FAILED"
	CodeNotSupported      Code = "SCHEMA_NOT_SUPPORTED"
	CodeNotFound          Code = "SCHEMA_NOT_FOUND"
)

// Ours, for what agentry cannot say.
const (
	// CodeInvalidValue is a value that breaks a rule without a code of its own:
	// multipleOf, uniqueItems, contains, not, anyOf, oneOf.
	CodeInvalidValue Code = "INVALID_VALUE"
	// CodeValidationFailed is the verdict on a payload with problems.
	CodeValidationFailed Code = "SCHEMA_VALIDATION_FAILED"
	// CodeInvalidDefinition is a definition that is no JSON Schema, or one that
	// is too costly.
	CodeInvalidDefinition Code = "INVALID_SCHEMA_DEFINITION"
	// CodeNegotiated warns that another version was used than the sender named.
	CodeNegotiated Code = "SCHEMA_NEGOTIATED"
	// CodeUnverified warns that a payload went out unchecked.
	CodeUnverified Code = "SCHEMA_NOT_CHECKED"
)

// Problem is one thing that is wrong with a payload or a definition.
type Problem struct {
	// Field is the place as agentry writes it: a.b[0]; empty for the whole.
	Field string `json:"field"`
	// Pointer is the same place as a JSON pointer (RFC 6901).
	Pointer string `json:"pointer"`
	Message string `json:"message"`
	Code    Code   `json:"code"`
	// Keyword is the rule of the schema that was broken, when it was one.
	Keyword string `json:"keyword,omitempty"`
	// Value is what stood there, when it is short.
	Value any `json:"value,omitempty"`
}

// Result is the verdict on one payload.
type Result struct {
	Valid bool
	// Errors says why not, at most Limits.Problems of them.
	Errors []Problem
	// Omitted is how many more there were.
	Omitted int
	// Warnings do not make a payload invalid.
	Warnings []Problem
	// Used is the schema that the payload was checked with.
	Used ID
}
