# The policy of `make run`. It is asked last, about what identity, permissions and tiers let pass: it can refuse more,
# never allow more. Save a change and the next request is decided by it.
package agentweave.authz

import rego.v1

default allow := false

allow if not sealed

sealed if input.resource == "documents/sealed"
