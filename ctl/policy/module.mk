# SPDX-License-Identifier: LGPL-2.1-or-later
LIBRARIES += ctl-policy
ctl-policy_SOURCES := ctl/policy/command.cc ctl/policy/difference.cc ctl/policy/explanation.cc ctl/policy/loaded.cc \
                      ctl/policy/request.cc ctl/policy/test_cases.cc
