# SPDX-License-Identifier: LGPL-2.1-or-later
LIBRARIES += ctl-sandbox
ctl-sandbox_UNITY := yes
ctl-sandbox_SOURCES := ctl/sandbox/listing.cc ctl/sandbox/machine.cc ctl/sandbox/running.cc \
                       ctl/sandbox/statement.cc

UNIT_TESTS += test-ctl-sandbox
test-ctl-sandbox_SOURCES   := tests/unit/ctl_sandbox.cc
test-ctl-sandbox_LIBRARIES := ctl-sandbox ctl confine spawn channel xdr loop base
test-ctl-sandbox_PACKAGES  := EVENT
