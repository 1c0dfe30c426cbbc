# SPDX-License-Identifier: LGPL-2.1-or-later
LIBRARIES += auditor
auditor_UNITY   := yes
auditor_SOURCES := workerd/auditor/auditor.cc workerd/auditor/inlet.cc workerd/auditor/journal.cc \
                   workerd/auditor/journal_entry.cc workerd/auditor/ledger.cc workerd/auditor/outlets.cc \
                   workerd/auditor/record.cc workerd/auditor/record_file.cc

PROGRAMS += virtgate-auditor
virtgate-auditor_SOURCES   := workerd/auditor/main.cc workerd/auditor/confinement.cc
virtgate-auditor_LIBRARIES := schemas confine auditor policy spawn rpc channel loop proto xdr base
virtgate-auditor_PACKAGES  := EVENT

UNIT_TESTS += test-auditor
test-auditor_SOURCES   := tests/unit/auditor_channels.cc tests/unit/auditor_ledger.cc tests/unit/auditor_outlets.cc \
                          tests/unit/auditor_record.cc tests/unit/auditor_support.cc tests/unit/pump.cc
test-auditor_LIBRARIES := auditor policy spawn rpc channel loop proto xdr base
test-auditor_PACKAGES  := EVENT
