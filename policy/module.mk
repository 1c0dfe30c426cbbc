# SPDX-License-Identifier: LGPL-2.1-or-later
# policy is what the broker needs; policy_compiler is what reads files, for the compiler and the tools.
LIBRARIES += policy policy_compiler
policy_SOURCES := policy/glob.cc policy/grant.cc policy/lock_rights.cc policy/migrate_uri.cc policy/network.cc policy/rights.cc \
                  policy/rights_index.cc policy/table.cc policy/touch.cc policy/xml_calls.cc policy/xml_rule.cc
policy_compiler_SOURCES := policy/accounts.cc policy/attributes.cc policy/bounds.cc policy/compiler.cc \
                           policy/complaint_codes.cc policy/complaints.cc \
                           policy/files.cc policy/flag_names.cc policy/group_table.cc policy/groups.cc \
                           policy/limits.cc policy/parse.cc policy/parse_grant.cc policy/parse_identity.cc \
                           policy/parse_tree.cc policy/resolve.cc policy/role_set.cc policy/words.cc

PROGRAMS += virtgate-policy-compile
virtgate-policy-compile_SOURCES   := policy/compile/main.cc policy/compile/confinement.cc
virtgate-policy-compile_LIBRARIES := schemas confine policy_compiler policy config spawn proto xdr base

UNIT_TESTS += test-policy
test-policy_SOURCES   := tests/unit/policy.cc tests/unit/policy_groups.cc tests/unit/policy_identity.cc \
                         tests/unit/policy_roles.cc
test-policy_LIBRARIES := policy_compiler policy config proto xdr base

UNIT_TESTS += test-rights
test-rights_UNITY := yes
test-rights_SOURCES   := tests/unit/rights.cc tests/unit/rights_general.cc tests/unit/rights_locks.cc tests/unit/policy_xml.cc
test-rights_LIBRARIES := policy_compiler policy config proto xdr base

FUZZERS += fuzz-policy
fuzz-policy_SOURCES   := tests/fuzz/fuzz-policy.cc
fuzz-policy_LIBRARIES := policy_compiler policy config proto xdr base
