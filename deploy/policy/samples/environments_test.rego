package agentweave.authz_test

import data.agentweave.authz

id(environment, name) := sprintf("spiffe://example.org/%s/%s", [environment, name])

test_one_environment_is_allowed if {
	every environment in ["prod", "dev"] {
		authz.allow with input as {
			"caller_spiffe_id": id(environment, "planner"),
			"resource_spiffe_id": id(environment, "documents"),
		}
	}
}

test_environments_do_not_mix if {
	every pair in [["prod", "dev"], ["dev", "prod"], ["prod", "test"], ["test", "test"]] {
		not authz.allow with input as {
			"caller_spiffe_id": id(pair[0], "planner"),
			"resource_spiffe_id": id(pair[1], "documents"),
		}
	}
}

test_an_unknown_target_is_refused if {
	not authz.allow with input as {"caller_spiffe_id": id("prod", "planner")}
}
