# SPDX-License-Identifier: LGPL-2.1-or-later
"""conftest - makes the tools of support/python and their fixtures known to pytest."""

import pathlib
import sys

sys.path.insert(0, str(pathlib.Path(__file__).parent / "support" / "python"))
sys.dont_write_bytecode = True

pytest_plugins = ("vgtest.fixtures",)
