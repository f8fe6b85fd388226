package agentweave.authz_test

import data.agentweave.authz

test_what_attache_lets_pass_is_allowed if {
	authz.allow with input as {
		"caller_spiffe_id": "spiffe://example.org/agent/planner",
		"caller_trust_domain": "example.org",
		"resource": "documents/42",
		"action": "read",
		"tier": "free",
	}
}

test_nothing_in_the_input_is_needed if {
	authz.allow with input as {}
}
