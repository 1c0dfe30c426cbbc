# SPDX-License-Identifier: LGPL-2.1-or-later
LIBRARIES += server
server_UNITY := yes
server_SOURCES := libshared/server/call.cc libshared/server/client.cc libshared/server/peer.cc \
                  libshared/server/program.cc libshared/server/server.cc libshared/server/stream.cc \
                  libshared/server/subscriptions.cc libshared/server/workshop.cc

UNIT_TESTS += test-server
test-server_SOURCES   := tests/unit/server.cc tests/unit/server_streams.cc tests/unit/pump.cc
test-server_LIBRARIES := server rpc channel loop proto xdr base
test-server_PACKAGES  := EVENT
