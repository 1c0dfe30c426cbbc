# SPDX-License-Identifier: LGPL-2.1-or-later
LIBRARIES += worker filter scrutiny
# filter: replies and events without what a client may not see. Pure, so that it is tested on its own.
filter_SOURCES := workerd/worker/filter.cc workerd/worker/filter_errors.cc workerd/worker/filter_objects.cc \
                  workerd/worker/filter_redact.cc workerd/worker/filter_rules.cc
filter_PACKAGES := XML
# scrutiny: the judgement of calls, replies and events. Pure, too.
scrutiny_UNITY := yes
scrutiny_SOURCES := workerd/worker/claims.cc workerd/worker/denial.cc workerd/worker/scrutiny.cc \
                    workerd/worker/scrutiny_replies.cc workerd/worker/sight.cc
# What is in the XML of calls, for rules about it.
scrutiny_SOURCES += workerd/worker/xml_facts.cc workerd/worker/xml_host.cc
scrutiny_PACKAGES := XML

worker_SOURCES := workerd/worker/budget.cc workerd/worker/call_counts.cc workerd/worker/conditions.cc workerd/worker/connector.cc workerd/worker/lane.cc \
                 workerd/worker/open_calls.cc workerd/worker/opening.cc workerd/worker/prologue.cc \
                 workerd/worker/session.cc workerd/worker/session_audit.cc workerd/worker/session_down.cc \
                 workerd/worker/session_fds.cc workerd/worker/session_scrutiny.cc workerd/worker/session_up.cc \
                 workerd/worker/uri_table.cc workerd/worker/vet.cc workerd/worker/witness.cc \
                 workerd/worker/worker.cc
# What objects are called, kept true over a second connection.
worker_SOURCES += workerd/worker/names_cache.cc workerd/worker/names_directory.cc workerd/worker/names_feed.cc \
                  workerd/worker/names_link.cc

PROGRAMS += virtgate-worker
virtgate-worker_SOURCES   := workerd/worker/main.cc workerd/worker/confinement.cc
virtgate-worker_LIBRARIES := schemas confine worker scrutiny filter policy metrics spawn rpc channel loop xml proto xdr base
virtgate-worker_PACKAGES  := EVENT

UNIT_TESTS += test-worker
test-worker_SOURCES   := tests/unit/worker_audit.cc tests/unit/worker_fds.cc tests/unit/worker_parts.cc \
                         tests/unit/worker_reading.cc \
                         tests/unit/worker_relay.cc tests/unit/worker_session.cc tests/unit/worker_stage.cc \
                         tests/unit/pump.cc
test-worker_LIBRARIES := worker scrutiny filter policy metrics spawn rpc channel loop xml proto xdr base
test-worker_PACKAGES  := EVENT

UNIT_TESTS += test-filter
test-filter_SOURCES   := tests/unit/filter.cc tests/unit/filter_redact.cc tests/unit/filter_rules.cc \
                         tests/unit/prune.cc
test-filter_LIBRARIES := filter prototest xml proto xdr base

UNIT_TESTS += test-scrutiny
test-scrutiny_SOURCES   := tests/unit/scrutiny.cc tests/unit/scrutiny_findings.cc tests/unit/scrutiny_xml.cc
test-scrutiny_LIBRARIES := scrutiny filter policy prototest rpc xml proto xdr base

UNIT_TESTS += test-xml
test-xml_SOURCES   := tests/unit/xml_facts.cc tests/unit/xml_host.cc
test-xml_LIBRARIES := scrutiny filter policy rpc xml proto xdr base

FUZZERS += fuzz-xml-facts
fuzz-xml-facts_SOURCES   := tests/fuzz/fuzz-xml-facts.cc
fuzz-xml-facts_LIBRARIES := scrutiny filter policy rpc xml proto xdr base

UNIT_TESTS += test-names
test-names_SOURCES   := tests/unit/scrutiny_names.cc tests/unit/worker_names.cc tests/unit/worker_names_link.cc \
                        tests/unit/worker_session_names.cc tests/unit/worker_stage.cc tests/unit/pump.cc
test-names_LIBRARIES := worker scrutiny filter policy metrics spawn rpc channel loop xml proto xdr base
test-names_PACKAGES  := EVENT
