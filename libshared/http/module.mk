# SPDX-License-Identifier: LGPL-2.1-or-later
LIBRARIES += http
http_SOURCES := libshared/http/server.cc

UNIT_TESTS += test-http
test-http_SOURCES   := tests/unit/http.cc
test-http_LIBRARIES := http loop base
test-http_PACKAGES  := EVENT HTTP
