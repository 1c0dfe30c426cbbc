# SPDX-License-Identifier: LGPL-2.1-or-later
LIBRARIES += loop
loop_SOURCES := libshared/loop/event_loop.cc libshared/loop/fake_loop.cc

UNIT_TESTS += test-loop
test-loop_SOURCES   := tests/unit/loop.cc
test-loop_LIBRARIES := loop base
test-loop_PACKAGES  := EVENT
