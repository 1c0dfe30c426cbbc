# SPDX-License-Identifier: LGPL-2.1-or-later
"""Tools of the system and hostile tests; README.md in the directory above says what each module is for."""
