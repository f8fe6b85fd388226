# The policy that attache uses where none is configured.
#
# When policy is asked, attache has already checked who the caller is, whether the caller holds a permission for the
# operation, and whether automation may do it at all. This policy adds nothing to that and takes nothing away. It exists
# to be replaced: name your own modules under policy.embedded.modules. What a policy sees and may answer is shown by the
# samples beside this file.
package agentweave.authz

allow := true
