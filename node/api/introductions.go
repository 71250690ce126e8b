package api

import (
	"context"
	"net/http"
	"time"

	"amesh/identity"
)

// Introductions is how two agents become contacts without asking strangers: the part of
// Backend about invites, and about what is remembered of others.
type Introductions interface {
	// Invite makes an invite; only this answer has its text. Owner only.
	Invite(ctx context.Context, agent string, r InviteRequest) (Invite, error)
	// Invites lists the invites that were made, newest first. Owner only.
	Invites(ctx context.Context, agent string) ([]Invite, error)
	// RevokeInvite ends an invite; who came in by it stays. CodeNotFound when there is
	// none, and no error when it has ended. Owner only.
	RevokeInvite(ctx context.Context, agent, id string) (Invite, error)
	// Join asks to be let in by somebody's invite and waits for the answer. The same
	// invite again gets the answer as it is by then. CodeExpired, CodeConflict for
	// who is a contact already, CodePolicy for who is blocked here. Owner only.
	Join(ctx context.Context, agent string, r JoinRequest) (Join, error)

	// Contact is what is remembered of another agent. Owner and agent.
	Contact(ctx context.Context, agent, peer string) (Contact, error)
	// AddContact gives an agent a name here, whether it is known or not. Owner only.
	AddContact(ctx context.Context, agent string, r ContactRequest) (Contact, error)
	// RenameContact changes a contact's name; CodeNameTaken or CodeNameLike when it
	// is another's, or could be taken for it. Owner only.
	RenameContact(ctx context.Context, agent, peer string, r RenameRequest) (Contact, error)
	// RemoveContact ends sessions, grants and waiting messages, and forgets the name. What
	// keeps the agent from being impersonated stays. Owner only.
	RemoveContact(ctx context.Context, agent, peer string) (Contact, error)
}

// MostInviteUses is how many agents one invite may let in.
const MostInviteUses = 1000

// InviteRequest says what an invite is to be.
type InviteRequest struct {
	Intents []string `json:"intents,omitempty" maxItems:"8" doc:"what may be written about, such as travel/flights; none: everything"`
	Uses    int      `json:"uses,omitempty" minimum:"0" maximum:"1000" doc:"how many agents it lets in; default 1"`
	// ExpiresSeconds is the life of the invite, GrantSeconds that of what it gives.
	ExpiresSeconds int64         `json:"expires_s,omitempty" minimum:"0" doc:"how long it can be used; default 24 h, at most 366 d"`
	GrantSeconds   int64         `json:"grant_s,omitempty" minimum:"0" doc:"how long who came in may write; 0: until taken back"`
	Limits         SessionLimits `json:"limits,omitzero" doc:"of every session with who came in"`
	Label          string        `json:"label,omitempty" maxLength:"100" doc:"for the owner; it is not in the invite"`
}

// States of an invite.
const (
	InviteOpen    = "open"
	InviteUsedUp  = "used_up"
	InviteExpired = "expired"
	InviteRevoked = "revoked"
)

// Invite is an invite as its maker sees it.
type Invite struct {
	ID      string        `json:"id" doc:"8 hex digits; the rule is invite/ID"`
	Agent   string        `json:"agent"`
	State   string        `json:"state" enum:"open,used_up,expired,revoked"`
	Text    string        `json:"text,omitempty" doc:"what is handed over; only in the answer to the one who makes it"`
	Label   string        `json:"label,omitempty"`
	Intents []string      `json:"intents,omitempty" doc:"none: every intent"`
	Limits  SessionLimits `json:"limits"`
	Uses    int           `json:"uses"`
	Left    int           `json:"left" doc:"uses that are left"`
	Made    time.Time     `json:"made"`
	Expires time.Time     `json:"expires"`
	// GrantSeconds is how long the grant of who came in lasts; 0: until taken back.
	GrantSeconds int64    `json:"grant_s,omitempty"`
	Relays       []string `json:"relays,omitempty" doc:"the way in that it names; only in the answer to the one who makes it"`
	Guests       []Guest  `json:"guests" nullable:"false" doc:"who came in by it"`
}

// Guest is an agent that came in by an invite.
type Guest struct {
	AMID identity.AMID `json:"amid"`
	Name string        `json:"name,omitempty"`
	At   time.Time     `json:"at"`
	Gone bool          `json:"gone,omitempty" doc:"removed since; the invite does not let it in again"`
}

// JoinRequest asks to be let in by an invite.
type JoinRequest struct {
	Invite    string `json:"invite" maxLength:"6604" doc:"as it was handed over; what stands in front of amesh1 does not matter"`
	Name      string `json:"name,omitempty" maxLength:"64" doc:"name of the contact; default what the inviter calls itself, if that is free"`
	TimeoutMS int64  `json:"timeout_ms,omitempty" minimum:"0" doc:"how long to wait for the answer"`
	Patient   bool   `json:"patient,omitempty" doc:"also wait while the inviter's owner decides"`
}

// States of a join.
const (
	JoinWaiting  = "waiting"  // asked, or about to
	JoinDeciding = "deciding" // the invite did not open; the inviter's owner is asked
	JoinAccepted = "accepted"
	JoinRejected = "rejected"
	JoinExpired  = "expired" // without an answer
)

// Join is what came of an invite.
type Join struct {
	Agent    string        `json:"agent" doc:"our agent's name"`
	Peer     identity.AMID `json:"peer"`
	Invite   string        `json:"invite" doc:"id of the invite"`
	State    string        `json:"state" enum:"waiting,deciding,accepted,rejected,expired"`
	Name     string        `json:"name,omitempty" doc:"name of the contact"`
	NoName   string        `json:"no_name,omitempty" doc:"why the name that the inviter proposes was not taken"`
	Reason   string        `json:"reason,omitempty" doc:"why it waits"`
	Path     PathKind      `json:"path"`
	Intents  []string      `json:"intents,omitempty" doc:"what was granted; none: every intent"`
	Expires  time.Time     `json:"expires" doc:"of the invite"`
	Granted  *time.Time    `json:"granted_until,omitempty" doc:"end of the grant; absent: until it is taken back"`
	Relays   []string      `json:"relays,omitempty" doc:"where the invite says that the inviter is"`
	Words    []string      `json:"words" nullable:"false" doc:"to be compared with the inviter's owner"`
	Repeated bool          `json:"repeated,omitempty" doc:"this invite was used here before"`
}

// ContactRequest names an agent.
type ContactRequest struct {
	AMID string `json:"amid" doc:"AMID or DID"`
	Name string `json:"name" doc:"1 to 32 of a-z, 0-9, dot, hyphen and underscore"`
}

// RenameRequest gives a contact another name; empty for none.
type RenameRequest struct {
	Name string `json:"name"`
}

// ContactGrant is what a contact may do here.
type ContactGrant struct {
	From    string        `json:"from" enum:"owner,return" doc:"owner: we said yes; return: it said yes to us, and may answer"`
	Intents []string      `json:"intents,omitempty" doc:"none: every intent"`
	Limits  SessionLimits `json:"limits"`
	Since   time.Time     `json:"since"`
	Expires *time.Time    `json:"expires,omitempty" doc:"absent: until taken back"`
	Invite  string        `json:"invite,omitempty" doc:"id of the invite that it came in by"`
	Label   string        `json:"label,omitempty" doc:"of that invite"`
}

// Invite implements Backend.
func (c *Client) Invite(ctx context.Context, agent string, r InviteRequest) (Invite, error) {
	return post[Invite](ctx, c, agent, call{path: []string{"invites"}, in: r})
}

// Invites implements Backend.
func (c *Client) Invites(ctx context.Context, agent string) ([]Invite, error) {
	l, err := get[listOf[Invite]](ctx, c, agent, call{path: []string{"invites"}})
	return l.Items, err
}

// RevokeInvite implements Backend.
func (c *Client) RevokeInvite(ctx context.Context, agent, id string) (Invite, error) {
	return remove[Invite](ctx, c, agent, call{path: []string{"invites", id}})
}

// Join implements Backend.
func (c *Client) Join(ctx context.Context, agent string, r JoinRequest) (Join, error) {
	return post[Join](ctx, c, agent, call{
		path: []string{"invites", "redeem"}, in: r, wait: time.Duration(r.TimeoutMS) * time.Millisecond})
}

// Contact implements Backend.
func (c *Client) Contact(ctx context.Context, agent, peer string) (Contact, error) {
	return get[Contact](ctx, c, agent, call{path: []string{"contacts", peer}})
}

// AddContact implements Backend.
func (c *Client) AddContact(ctx context.Context, agent string, r ContactRequest) (Contact, error) {
	return post[Contact](ctx, c, agent, call{path: []string{"contacts"}, in: r})
}

// RenameContact implements Backend.
func (c *Client) RenameContact(ctx context.Context, agent, peer string, r RenameRequest) (Contact, error) {
	var out Contact
	err := c.do(ctx, agent, call{method: http.MethodPatch, path: []string{"contacts", peer}, in: r}, &out)
	return out, err
}

// RemoveContact implements Backend.
func (c *Client) RemoveContact(ctx context.Context, agent, peer string) (Contact, error) {
	return remove[Contact](ctx, c, agent, call{path: []string{"contacts", peer}})
}

func remove[T any](ctx context.Context, c *Client, agent string, k call) (T, error) {
	k.method = http.MethodDelete
	var out T
	err := c.do(ctx, agent, k, &out)
	return out, err
}
