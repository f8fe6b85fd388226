package agentweave.authz_test

import data.agentweave.authz

test_an_administrator_may_do_everything if {
	result := authz.allow with input as {"caller_spiffe_id": "spiffe://example.org/admin/root", "action": "delete"}
	result.allow == true
	result.policy_id == "admin-access"
}

test_a_reader_may_read if {
	result := authz.allow with input as {"caller_spiffe_id": "spiffe://example.org/reader/a", "action": "read"}
	result.allow == true
	result.policy_id == "read-access"
	result.reason == "the caller is a reader"
}

test_a_reader_may_not_write if {
	result := authz.allow with input as {"caller_spiffe_id": "spiffe://example.org/reader/a", "action": "update"}
	result.allow == false
	not result.policy_id
}

test_others_may_nothing if {
	result := authz.allow with input as {"caller_spiffe_id": "spiffe://example.org/agent/a", "action": "read"}
	result == {"allow": false, "reason": "no role grants this operation"}
}
