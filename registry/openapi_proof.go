package registry

import (
	"github.com/danielgtaylor/huma/v2"

	"amesh/registry/wire"
)

// describeProof describes what agents say of who is behind them, beside the 0.2 API.
func describeProof(api huma.API) {
	document[struct {
		SignedBy
		Body wire.WithdrawRequest
	}, answers[wire.Done]](api, post("/v1/amesh/oauth/withdraw", "withdraw-account", "End what accounts say of an agent",
		"Deletes which accounts they were, and takes back the certificates."), "")
	document[struct {
		SignedBy
		Body wire.ConsentRequest
	}, answers[wire.Done]](api, post("/v1/amesh/org/consent", "consent", "Agree to join an organisation",
		"Its administrator then takes the agent in, within 30 days."), "")
	document[struct {
		SignedBy
		Body wire.ConsentRequest
	}, answers[wire.Done]](api, post("/v1/amesh/org/leave", "leave-organization", "Leave an organisation, or take back the agreement to join it", ""), "")
	document[struct {
		SignedBy
		Body wire.RemoveMemberRequest
	}, answers[wire.Done]](api, post("/v1/amesh/org/remove", "remove-member", "Remove an agent from one's organisation", "Signed by its administrator."), "")
}
