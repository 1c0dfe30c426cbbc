# SPDX-License-Identifier: LGPL-2.1-or-later
LIBRARIES += ctl-policy
ctl-policy_UNITY := yes
ctl-policy_SOURCES := ctl/policy/audit_command.cc ctl/policy/check_command.cc \
                      ctl/policy/complaint_listing.cc ctl/policy/diff_command.cc ctl/policy/edit_command.cc \
                      ctl/policy/edited_copy.cc ctl/policy/effects.cc ctl/policy/excerpt.cc \
                      ctl/policy/explain_command.cc ctl/policy/explanation.cc ctl/policy/explanation_output.cc \
                      ctl/policy/group_listing.cc ctl/policy/history.cc ctl/policy/identity_match.cc \
                      ctl/policy/json.cc ctl/policy/learned.cc ctl/policy/loaded.cc ctl/policy/matrix.cc \
                      ctl/policy/near_miss.cc ctl/policy/options.cc ctl/policy/origins.cc ctl/policy/past_command.cc \
                      ctl/policy/proposal.cc ctl/policy/question.cc ctl/policy/request.cc ctl/policy/subject.cc ctl/policy/test_cases.cc \
                      ctl/policy/usage.cc ctl/policy/usage_output.cc ctl/policy/words.cc

UNIT_TESTS += test-ctl-policy
test-ctl-policy_SOURCES   := tests/unit/ctl_policy.cc tests/unit/ctl_policy_history.cc tests/unit/ctl_policy_client.cc \
                             tests/unit/support/certificates.cc
test-ctl-policy_LIBRARIES := ctl-policy ctl-audit ctl-pki x509 policy_compiler policy programs config ctl spawn rpc \
                             channel loop proto xdr base
test-ctl-policy_PACKAGES  := GNUTLS EVENT
