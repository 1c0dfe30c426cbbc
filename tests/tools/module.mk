# SPDX-License-Identifier: LGPL-2.1-or-later
# Tests of the tools that judge the others, and of what is written down for comparison.
TESTS_SCRIPTS += tests/tools/test_guides tests/tools/test_layering tests/tools/test_packages tests/tools/test_programs tests/tools/test_run tests/tools/test_settings
