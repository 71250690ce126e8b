package knock

import "fmt"

// Tier is how well it is proved who is behind an agent, by a certificate of a registry
// that the owner trusts. A higher one is better; what is not proved is Anonymous.
type Tier uint8

// The tiers, by the numbers that certificates have for them.
const (
	Anonymous    Tier = 0
	Verified     Tier = 1 // a person, by an account elsewhere
	Organization Tier = 2 // an organisation, by its domain
)

var tierNames = []string{"anonymous", "verified", "organization"}

// String is the tier's word in a policy.
func (t Tier) String() string {
	if int(t) < len(tierNames) {
		return tierNames[t]
	}
	return fmt.Sprintf("(%d)", uint8(t))
}

// parseTier reads what String wrote; nothing is Anonymous.
func parseTier(s string) (Tier, error) {
	for t, name := range tierNames {
		if s == name {
			return Tier(t), nil
		}
	}
	if s == "" {
		return Anonymous, nil
	}
	return Anonymous, fmt.Errorf("%q is not anonymous, verified or organization", s)
}
