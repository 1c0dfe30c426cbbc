# SPDX-License-Identifier: LGPL-2.1-or-later
LIBRARIES += xdr
xdr_SOURCES := libshared/xdr/flaw.cc libshared/xdr/reader.cc libshared/xdr/writer.cc

UNIT_TESTS += test-xdr
test-xdr_SOURCES   := tests/unit/xdr.cc
test-xdr_LIBRARIES := xdr base
