# SPDX-License-Identifier: LGPL-2.1-or-later
# The library client: libvirt's RPC from the side that calls.
LIBRARIES += client
client_SOURCES := libshared/client/auth_file.cc libshared/client/command.cc libshared/client/connection.cc \
                  libshared/client/login.cc libshared/client/stream.cc libshared/client/core.cc \
                  libshared/client/core_input.cc libshared/client/core_io.cc libshared/client/core_reconnect.cc \
                  libshared/client/core_service.cc \
                  libshared/client/core_streams.cc libshared/client/environment.cc \
                  libshared/client/failure.cc libshared/client/tcp.cc libshared/client/tls.cc \
                  libshared/client/sasl.cc libshared/client/tls_verify.cc libshared/client/transport.cc libshared/client/uri.cc \
                  libshared/client/wait.cc
client_PACKAGES := GNUTLS SASL

UNIT_TESTS += test-client-uri
test-client-uri_SOURCES   := tests/unit/client_uri.cc
test-client-uri_LIBRARIES := client rpc channel xdr base

FUZZERS += fuzz-uri fuzz-auth-file fuzz-client fuzz-reconnect
fuzz-uri_SOURCES         := tests/fuzz/fuzz-uri.cc
fuzz-uri_LIBRARIES       := client rpc channel xdr base
fuzz-auth-file_SOURCES   := tests/fuzz/fuzz-auth-file.cc
fuzz-auth-file_LIBRARIES := client rpc channel xdr base

# The programs as objects of functions: written by xdrgen along with their types.
client_PROGRAMS := remote qemu lxc admin lock log
client_HEADERS  := $(client_PROGRAMS:%=$(BUILD)/gen/proto/%_client.h)
GENERATED       += $(client_HEADERS)
$(client_HEADERS): $(BUILD)/gen/proto/%_client.h: $(BUILD)/gen/stamp/% ;

client-test-libraries := client rpc channel loop proto xdr base
UNIT_TESTS += test-client
test-client_SOURCES   := tests/unit/client_calls.cc tests/unit/client_events.cc tests/unit/client_reconnect.cc \
                          tests/unit/client_server.cc tests/unit/client_streams.cc
test-client_LIBRARIES := $(client-test-libraries)
test-client_PACKAGES  := EVENT
fuzz-client_SOURCES   := tests/fuzz/fuzz-client.cc
fuzz-client_LIBRARIES := $(client-test-libraries)
fuzz-client_PACKAGES  := EVENT
fuzz-reconnect_SOURCES   := tests/fuzz/fuzz-reconnect.cc
fuzz-reconnect_LIBRARIES := $(client-test-libraries)
fuzz-reconnect_PACKAGES  := EVENT
