# SPDX-License-Identifier: LGPL-2.1-or-later
LIBRARIES += spawn
spawn_UNITY := yes
spawn_SOURCES := libshared/spawn/background.cc libshared/spawn/census.cc libshared/spawn/child.cc libshared/spawn/exit.cc libshared/spawn/listen_fds.cc libshared/spawn/log_relay.cc \
                 libshared/spawn/notify.cc libshared/spawn/pid_file.cc libshared/spawn/self.cc libshared/spawn/user.cc libshared/spawn/ward.cc libshared/spawn/watchdog.cc
UNIT_TESTS += test-spawn
test-spawn_SOURCES := tests/unit/spawn.cc tests/unit/spawn_manager.cc
test-spawn_LIBRARIES := spawn channel xdr loop base
test-spawn_PACKAGES := EVENT
