# SPDX-License-Identifier: LGPL-2.1-or-later
"""tap - the few lines that a script test in Python needs: functions named test_*, run in order, reported as TAP."""

import traceback


def run(module):
    """Run every test_* function of a module's dictionary and print TAP; returns the exit status."""
    tests = [value for name, value in module.items() if name.startswith("test_")]
    print(f"1..{len(tests)}")
    status = 0
    for number, test in enumerate(tests, 1):
        name = test.__name__[len("test_"):].replace("_", " ")
        try:
            test()
        except Exception:  # pylint: disable=broad-except - every fault of a test is its failure
            status = 1
            print(f"not ok {number} - {name}")
            print("\n".join("  " + line for line in traceback.format_exc().splitlines()))
        else:
            print(f"ok {number} - {name}")
    return status
