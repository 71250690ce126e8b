// Package peer hands messages to the gateways of other domains: one POST, and what its
// answer means for every recipient. Whether and when there is another try is for
// gateway/delivery to decide.
//
// Unsigned, all recipients of a domain go in one request. Signed, each goes in its own,
// as the draft of domain signatures wants it; and because agentry knows a message by
// its key alone and drops the second copy, every recipient but the first gets one under
// an id and a key of its own, unless the gateway's record says that it tells recipients
// apart (FeaturePerRecipient). An answer that speaks of other recipients than ours is
// that of an earlier copy: ours then follow under their own ids.
//
// One form of body serves agentry of every age and the specification. A 400 that lists
// recipients is a result for each of them and not a refusal, a 202 means that the
// gateway has taken the message over. What a gateway says is read within limits, kept
// short, and believed about its own recipients only.
package peer
