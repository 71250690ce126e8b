// Package webhook pushes a message to the URL of an agent that does not fetch.
//
// A push is one POST. It is signed with the agent's own key, so that a receiver knows
// who sent it and can refuse an old one (docs/protocol/amtp-webhooks.md). A URL is
// whatever an administrator once entered, and its server may be anybody's by now:
// it is contacted by internal/outward, gets ten seconds, and of its answer 64 KiB are
// read. Whether and when there is another try is for gateway/delivery to decide.
package webhook
