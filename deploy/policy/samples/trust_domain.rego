# Who belongs to the same trust domain may do what the caller's permissions say.
package agentweave.authz

default allow := false

# Both are absent from the input where attache does not know which workload would serve the request. Then nothing here is
# defined, and the default refuses.
allow if input.caller_trust_domain == input.resource_trust_domain
