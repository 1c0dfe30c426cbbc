# SPDX-License-Identifier: LGPL-2.1-or-later
LIBRARIES += ctl-locks
ctl-locks_UNITY := yes
ctl-locks_SOURCES := ctl/locks/link.cc ctl/locks/listing.cc

UNIT_TESTS += test-ctl-locks
test-ctl-locks_SOURCES   := tests/unit/ctl_locks.cc
test-ctl-locks_LIBRARIES := ctl-locks ctl rpc spawn loop proto xdr base
test-ctl-locks_PACKAGES  := EVENT
