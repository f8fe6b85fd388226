# Production talks to production and development to development.
package agentweave.authz

default allow := false

allow if {
	contains(input.caller_spiffe_id, "/prod/")
	contains(input.resource_spiffe_id, "/prod/")
}

allow if {
	contains(input.caller_spiffe_id, "/dev/")
	contains(input.resource_spiffe_id, "/dev/")
}
