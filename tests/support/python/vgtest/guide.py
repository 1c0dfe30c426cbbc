# SPDX-License-Identifier: LGPL-2.1-or-later
"""guide - runs the commands of a guide as they stand: every block that is marked as "sh", in order, as root of a machine that
has this build of virtgate.

The machine is a mount namespace: changes of /etc are thrown away, HOME is empty. What would reach other machines or the service
manager is a program of ours with that name: it writes down what it was asked for, and knows the units that there are.
"""

import os
import pathlib
import re
import subprocess

import pytest

from vgtest.clients import ENVIRONMENT
from vgtest.suite import BUILD

TOP = pathlib.Path(__file__).resolve().parents[4]

ENTER = """
set -e
mount -t tmpfs none "$1/space"
# This build may look for its files elsewhere, in /usr/local/etc say.
for place in /etc "${2%/*}"; do
    ! mountpoint -q "$place" || continue
    upper=$(mktemp -d "$1/space/XXXXXX") && work=$(mktemp -d "$1/space/XXXXXX") && chmod 755 "$upper"
    mount -t overlay overlay -o "lowerdir=$place,upperdir=$upper,workdir=$work" "$place"
done
rm -rf "$2"
[ "$2" = /etc/virtgate ] || ln -s /etc/virtgate "$2"
rm -rf /etc/virtgate /etc/libvirt /etc/pki /etc/credstore /etc/systemd/system
mkdir -p /etc/virtgate/policy.d
cp -r "$1/etc/." /etc/
grep -q '^_virtgate-net:' /etc/passwd || echo "_virtgate-net:x:60560:60560::/nonexistent:/bin/false" >>/etc/passwd
cd "$HOME"
exec bash -eu "$1/commands"
"""

SYSTEMCTL = """#!/bin/sh
echo "systemctl $*" >>"$GUIDE_RECORD"
for word in "$@"; do
    case $word in
    libvirtd*.socket | virtproxyd*.socket) ;;
    *.socket | *.service) [ -e "$GUIDE_UNITS/$word" ] || { echo "there is no unit $word" >&2; exit 5; } ;;
    virtgate-*) [ -e "$GUIDE_UNITS/$word.service" ] || { echo "there is no unit $word" >&2; exit 5; } ;;
    esac
done
"""


def blocks(path):
    """The commands of a guide, a text for each block."""
    found = re.findall(r"^```sh\n(.*?)^```", pathlib.Path(path).read_text(), re.M | re.S)
    assert found, f"{path} has no commands"
    return found


def run(path, work, files=None, programs=None, environment=None, after=""):
    """Run the guide at `path` in the directory `work`. `files` {path below /etc: text} are there before; `programs` {name: script} are in
    front of those of the machine; `after` is run at the end. The result has standard output, and in `record` the lines of stand-ins.
    """
    work = pathlib.Path(work)
    for name in ("space", "home", "bin", "etc"):
        (work / name).mkdir()
    for name, text in (files or {}).items():
        target = work / "etc" / name
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(text)
        target.chmod(0o600)
    (work / "bin/virtgate").symlink_to(BUILD / "virtgate")
    for name, text in {"systemctl": SYSTEMCTL, **(programs or {})}.items():
        (work / "bin" / name).write_text(text)
        (work / "bin" / name).chmod(0o755)
    (work / "commands").write_text("\n".join([*blocks(path), after]))
    (work / "record").touch()
    enter = ["unshare", "--mount"] if os.geteuid() == 0 else ["unshare", "--mount", "--map-root-user"]
    if subprocess.run([*enter, "true"], capture_output=True, check=False).returncode != 0:
        pytest.skip("there are no mount namespaces for this user")
    settings = re.search(r'^#define VIRTGATE_SYSCONFDIR "(.*)"', (BUILD / "config.h").read_text(), re.M)[1]
    done = subprocess.run(
        [*enter, "sh", "-c", ENTER, "sh", work, settings],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
        env={
            **ENVIRONMENT,
            "HOME": str(work / "home"),
            "PATH": f"{work}/bin:{os.environ['PATH']}:/usr/sbin:/sbin",
            "GUIDE_RECORD": str(work / "record"),
            "GUIDE_UNITS": str(TOP / "packaging/systemd"),
            **(environment or {}),
        },
    )
    assert done.returncode == 0, f"{path}:\n{done.stdout}\n{done.stderr}"
    done.record = (work / "record").read_text().splitlines()
    return done
