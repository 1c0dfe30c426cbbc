# SPDX-License-Identifier: LGPL-2.1-or-later
LIBRARIES += avahi
avahi_SOURCES := libshared/avahi/poll.cc

UNIT_TESTS += test-avahi
test-avahi_SOURCES   := tests/unit/avahi.cc
test-avahi_LIBRARIES := avahi loop base
test-avahi_PACKAGES  := AVAHI EVENT
