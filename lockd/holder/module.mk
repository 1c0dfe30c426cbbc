# SPDX-License-Identifier: LGPL-2.1-or-later
LIBRARIES += holder
holder_UNITY := yes
holder_SOURCES := lockd/holder/crc32c.cc lockd/holder/desk.cc lockd/holder/etcd_settings.cc lockd/holder/holder.cc \
                  lockd/holder/inheritance.cc lockd/holder/intake.cc lockd/holder/journal.cc lockd/holder/keeping.cc \
                  lockd/holder/leasers.cc lockd/holder/outer_store.cc lockd/holder/queue.cc \
                  lockd/holder/reload_signals.cc lockd/holder/settings.cc

PROGRAMS += virtgate-lockd
virtgate-lockd_SOURCES   := lockd/holder/main.cc lockd/holder/confinement.cc
virtgate-lockd_LIBRARIES := holder leaser_url confine logging config spawn rpc channel loop proto xdr base
virtgate-lockd_PACKAGES  := EVENT

UNIT_TESTS += test-holder
test-holder_SOURCES   := tests/unit/holder_journal.cc tests/unit/holder_keeping.cc tests/unit/holder_desk.cc \
                         tests/unit/holder_intake.cc tests/unit/holder_inheritance.cc tests/unit/holder_rig.cc tests/unit/pump.cc
test-holder_LIBRARIES := holder leaser_url confine logging config spawn rpc channel loop proto xdr base
test-holder_PACKAGES  := EVENT
