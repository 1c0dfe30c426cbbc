# SPDX-License-Identifier: LGPL-2.1-or-later
LIBRARIES += steward
steward_UNITY := yes
steward_SOURCES := netd/steward/admin_desk.cc netd/steward/control_desk.cc netd/steward/gates.cc netd/steward/link.cc \
                   netd/steward/parameters.cc netd/steward/reading_desk.cc netd/steward/service.cc

PROGRAMS += virtgate-steward
virtgate-steward_SOURCES   := netd/steward/main.cc netd/steward/confinement.cc
virtgate-steward_LIBRARIES := steward metrics server confine spawn rpc channel loop proto xdr base
virtgate-steward_PACKAGES  := EVENT

UNIT_TESTS += test-steward
test-steward_UNITY := yes
test-steward_SOURCES   := tests/unit/steward.cc tests/unit/pump.cc
test-steward_LIBRARIES := steward metrics server spawn rpc channel loop proto xdr base
test-steward_PACKAGES  := EVENT
