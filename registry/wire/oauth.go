package wire

// The codes of sign-ins.
const (
	CodeOAuthState        Code = "oauth_state_invalid"        // 400: unknown, used, too old, or another browser's
	CodeOAuthDenied       Code = "oauth_denied"               // 400: the human or the provider said no
	CodeOAuthToken        Code = "oauth_token_invalid"        // 400: the provider's answer does not hold
	CodeOAuthUnverified   Code = "oauth_email_unverified"     // 400: an account without a verified address
	CodeOAuthUnknown      Code = "oauth_provider_unknown"     // 400
	CodeOAuthUnconfigured Code = "oauth_not_configured"       // 400
	CodeOAuthProvider     Code = "oauth_provider_unavailable" // 502
	CodeOAuthTooMany      Code = "oauth_too_many_agents"      // 409: for one account
)

// OAuthProviders is the answer of GET /v1/auth/oauth/providers.
type OAuthProviders struct {
	Providers []OAuthProvider `json:"providers"`
}

// OAuthProvider is one that may vouch for agents, if it is enabled.
type OAuthProvider struct {
	Name        string `json:"name"`
	Enabled     bool   `json:"enabled"`
	DisplayName string `json:"display_name"`
}

// AuthorizeRequest is the body of POST /v1/auth/oauth/authorize.
type AuthorizeRequest struct {
	AMID     string `json:"amid"`
	Provider string `json:"provider"`
	Stamp
}

// AuthorizeReply is the link for the human. ExpiresIn is in seconds.
type AuthorizeReply struct {
	AuthorizationURL string `json:"authorization_url"`
	State            string `json:"state"`
	ExpiresIn        int    `json:"expires_in"`
}

// CallbackReply is the end of a sign-in, whatever the status.
type CallbackReply struct {
	Success          bool              `json:"success"`
	AMID             *string           `json:"amid"`
	Provider         *string           `json:"provider"`
	VerifiedIdentity *VerifiedIdentity `json:"verified_identity"`
	Certificate      *string           `json:"certificate"`
	Error            *string           `json:"error"`
	Code             Code              `json:"code,omitempty"`
}

// VerifiedIdentity is the account, as the browser that signed in is told. Email is
// always null: the registry does not keep what it does not need.
type VerifiedIdentity struct {
	Provider    string  `json:"provider"`
	ProviderID  string  `json:"provider_id"`
	Email       *string `json:"email"`
	Username    *string `json:"username"`
	DisplayName *string `json:"display_name"`
	VerifiedAt  Time    `json:"verified_at"`
}

// WithdrawRequest is the body of POST /v1/amesh/oauth/withdraw.
type WithdrawRequest struct {
	AMID string `json:"amid"`
}
