# The same rules as ../environments.rego, in the syntax of Rego before version 1.
package agentweave.authz

default allow = false

allow {
	contains(input.caller_spiffe_id, "/prod/")
	contains(input.resource_spiffe_id, "/prod/")
}

allow {
	contains(input.caller_spiffe_id, "/dev/")
	contains(input.resource_spiffe_id, "/dev/")
}
