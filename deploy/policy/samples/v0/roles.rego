# The same rules as ../roles.rego, in the syntax of Rego before version 1.
package agentweave.authz

default allow = {
	"allow": false,
	"reason": "no role grants this operation",
}

allow = {
	"allow": true,
	"reason": "the caller is an administrator",
	"policy_id": "admin-access",
} {
	contains(input.caller_spiffe_id, "/admin/")
}

allow = {
	"allow": true,
	"reason": "the caller is a reader",
	"policy_id": "read-access",
} {
	contains(input.caller_spiffe_id, "/reader/")
	input.action == "read"
}
