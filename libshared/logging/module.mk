# SPDX-License-Identifier: LGPL-2.1-or-later
LIBRARIES += logging
logging_UNITY := yes
logging_SOURCES := libshared/logging/outputs.cc libshared/logging/settings.cc

UNIT_TESTS += test-logging
test-logging_SOURCES := tests/unit/logging.cc tests/unit/background.cc
test-logging_LIBRARIES := logging config spawn channel xdr loop base
test-logging_PACKAGES := EVENT TOML
