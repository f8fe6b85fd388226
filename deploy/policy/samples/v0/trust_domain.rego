# The same rule as ../trust_domain.rego, in the syntax of Rego before version 1.
package agentweave.authz

default allow = false

allow {
	input.caller_trust_domain == input.resource_trust_domain
}
