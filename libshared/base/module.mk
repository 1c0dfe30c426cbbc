# SPDX-License-Identifier: LGPL-2.1-or-later
LIBRARIES += base
base_SOURCES := libshared/base/boot_clock.cc libshared/base/bytes.cc libshared/base/clock.cc libshared/base/fd.cc libshared/base/log.cc libshared/base/path_fault.cc \
                libshared/base/process.cc libshared/base/result.cc libshared/base/suggest.cc \
                libshared/base/wall_clock.cc

UNIT_TESTS += test-base
test-base_SOURCES := tests/unit/base.cc
test-base_LIBRARIES := base
