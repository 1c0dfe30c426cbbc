# SPDX-License-Identifier: LGPL-2.1-or-later
LIBRARIES += userdb
userdb_SOURCES  := libshared/userdb/crypto.cc libshared/userdb/scram.cc libshared/userdb/users.cc
userdb_PACKAGES := GNUTLS

UNIT_TESTS += test-userdb
test-userdb_SOURCES   := tests/unit/userdb.cc
test-userdb_LIBRARIES := userdb base
