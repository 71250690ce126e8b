// Package schema says what a payload may look like: AGNTCY identifiers, their
// definitions in JSON Schema 2020-12, the registries that keep them, and the
// verdict on a message for each of its recipients.
//
// A definition is hostile until it was compiled within the Limits, a payload
// until it was checked within them: both are bounded in size, depth and the work
// they cause. Nothing that a definition refers to is ever fetched; a $ref may
// name the definition itself or another registered schema by its identifier.
//
// Check is the way of a message, the rest of Service the way of an operator. A
// Registry keeps definitions: a directory, a database or a server elsewhere. The
// formats of all three and the rules of compatibility stand in
// docs/protocol/amtp-schemas.md.
package schema
