# SPDX-License-Identifier: LGPL-2.1-or-later
LIBRARIES += config
config_SOURCES := libshared/config/document.cc libshared/config/tree.cc
config_PACKAGES := TOML

UNIT_TESTS += test-config
test-config_SOURCES := tests/unit/config.cc
test-config_LIBRARIES := config base
