package agentweave.authz_test

import data.agentweave.authz

test_one_trust_domain_is_allowed if {
	authz.allow with input as {"caller_trust_domain": "example.org", "resource_trust_domain": "example.org"}
}

test_two_trust_domains_are_refused if {
	not authz.allow with input as {"caller_trust_domain": "example.org", "resource_trust_domain": "other.example"}
}

test_an_unknown_target_is_refused if {
	not authz.allow with input as {"caller_trust_domain": "example.org"}
}

test_an_empty_input_is_refused if {
	not authz.allow with input as {}
}
