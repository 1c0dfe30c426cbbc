# SPDX-License-Identifier: LGPL-2.1-or-later
LIBRARIES += ctl-audit
ctl-audit_UNITY := yes
ctl-audit_SOURCES := ctl/audit/entry.cc ctl/audit/follow.cc ctl/audit/listing.cc \
                     ctl/audit/moment.cc ctl/audit/reader.cc

UNIT_TESTS += test-audit
test-audit_SOURCES   := tests/unit/auditor_reading.cc tests/unit/auditor_support.cc
test-audit_LIBRARIES := ctl-audit ctl auditor policy spawn rpc channel loop proto xdr base
test-audit_PACKAGES  := EVENT
