# SPDX-License-Identifier: LGPL-2.1-or-later
LIBRARIES += confine
confine_SOURCES := libshared/confine/check.cc libshared/confine/descriptors.cc libshared/confine/filter.cc \
                   libshared/confine/landlock.cc libshared/confine/limits.cc libshared/confine/memory.cc libshared/confine/namespaces.cc libshared/confine/plan.cc \
                   libshared/confine/privileges.cc libshared/confine/report.cc libshared/confine/rows.cc \
                   libshared/confine/simulator.cc libshared/confine/supervisor.cc libshared/confine/violations.cc
confine_PACKAGES := CAPNG SECCOMP

UNIT_TESTS += test-confine
test-confine_SOURCES   := tests/unit/confine.cc tests/unit/confine_files.cc tests/unit/confine_filter.cc \
                          tests/unit/confine_foreign.cc tests/unit/confine_namespaces.cc tests/unit/confine_rig.cc
test-confine_LIBRARIES := confine base
test-confine_PACKAGES  := CAPNG SECCOMP
