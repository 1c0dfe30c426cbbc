# SPDX-License-Identifier: LGPL-2.1-or-later
LIBRARIES += ctl-discover
ctl-discover_UNITY := yes
ctl-discover_SOURCES := ctl/discover/browser.cc ctl/discover/listing.cc ctl/discover/servers.cc

UNIT_TESTS += test-ctl-discover
test-ctl-discover_SOURCES   := tests/unit/ctl_discover.cc
test-ctl-discover_LIBRARIES := ctl-discover avahi spawn loop xdr base
test-ctl-discover_PACKAGES  := AVAHI EVENT
