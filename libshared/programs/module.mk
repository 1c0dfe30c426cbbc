# SPDX-License-Identifier: LGPL-2.1-or-later
# programs: programs.d, for netd, workerd and virtgate. schemas: for those that only know what their parent tells them.
LIBRARIES += programs schemas
programs_SOURCES := libshared/programs/programs.cc
schemas_SOURCES  := libshared/programs/schemas.cc

UNIT_TESTS += test-programs
test-programs_SOURCES   := tests/unit/programs.cc
test-programs_LIBRARIES := programs config xdrgen-parts proto xdr base
