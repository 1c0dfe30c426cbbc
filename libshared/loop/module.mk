# SPDX-License-Identifier: LGPL-2.1-or-later
LIBRARIES += loop
loop_SOURCES := libshared/loop/event_loop.cc libshared/loop/fake_loop.cc
