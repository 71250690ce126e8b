// Package amtp has the words of AMTP 1.0: addresses, messages, ids, states, error
// codes and discovery records. It does no I/O.
//
// A message comes in as the body of POST /v1/messages. [Parse] reads it strictly
// (I-JSON, every member checked, every one with a limit), gives it what it lacks
// (an id, a key, a time) and returns a [Message] or an [*Error] that may be shown
// to the client. What is kept is the message's [Message.Document]: its JSON
// without the recipients, which have a life of their own. [Assemble] puts
// recipients back for a reader, [Outbound] and [OutboundOne] write what goes to
// another gateway.
//
// The payload is never decoded: its bytes travel as they came, less the space
// between tokens.
package amtp
