// Package certificate says what a registry found out about an agent, and proves it.
//
// A registry has one root key. With it it signs the certificates of agents that it
// verified itself, and those of organisations; an organisation's certificate names a
// key of its own, which signs the certificates of the organisation's agents. So a
// certificate is one link or two, and whoever trusts the root key checks it without
// asking anybody. What was taken back stands in a signed list, which is asked for once
// in a while; who has no list of the last 24 hours believes no certificate (T71).
//
// There are two forms of the same facts: the JSON documents of AgentMesh §1.6, with a
// signature added, and compact bytes that fit into a knock. Package certificate knows
// no database and no server; docs/protocol/registry-trust.md is the normative text.
package certificate
