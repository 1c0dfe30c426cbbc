# SPDX-License-Identifier: LGPL-2.1-or-later
"""conftest - makes the tools of support/python and their fixtures known to pytest."""

import pathlib
import sys

sys.path.insert(0, str(pathlib.Path(__file__).parent / "support" / "python"))
sys.dont_write_bytecode = True

pytest_plugins = ("vgtest.fixtures",)


def pytest_collection_modifyitems(items):
    """Files that say `LENGTHY = True` come first: of several processes none has a long one left at the end."""
    items.sort(key=lambda item: not getattr(item.module, "LENGTHY", False))
