# SPDX-License-Identifier: LGPL-2.1-or-later
"""conftest - virsh as the system tests run it, and a suite that may be hurt."""

import pytest

from vgtest.clients import run


@pytest.fixture
def virsh(gate):
    """virsh(words…): run virsh over TLS on the test driver; uri=… for another connection."""

    def call(*words, uri=None, **options):
        return run("virsh", "-q", "-c", uri or gate.uri(), *words, **options)

    return call


@pytest.fixture(scope="module")
def fragile(scratch, running_suite, request):
    """A suite of its own for the tests that kill parts of it."""
    with running_suite.sibling(scratch / f"fragile-{request.module.__name__}") as suite:
        yield suite
