# Roles by a segment of the caller's SPIFFE ID, with a reason and the name of the rule for the audit record.
package agentweave.authz

default allow := {
	"allow": false,
	"reason": "no role grants this operation",
}

# Administrators may do everything.
allow := {
	"allow": true,
	"reason": "the caller is an administrator",
	"policy_id": "admin-access",
} if {
	contains(input.caller_spiffe_id, "/admin/")
}

# Readers may read. A caller in both roles would make two different results of one rule, which is an error and refuses.
allow := {
	"allow": true,
	"reason": "the caller is a reader",
	"policy_id": "read-access",
} if {
	contains(input.caller_spiffe_id, "/reader/")
	input.action == "read"
}
