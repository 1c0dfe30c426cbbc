# SPDX-License-Identifier: LGPL-2.1-or-later
"""test_transfer - "virtgate upload" and "download": with the store through netd, and with libvirtd's storage driver."""

import hashlib
import json
import os
import re
import signal

import pytest

from vgtest import tools, upstream
from vgtest.clients import run
from vgtest.libvirtd import NOBODY
from vgtest.tools import INTERRUPTED, REFUSED, USAGE, answer, virtgate

MIB = 1 << 20
PARTIAL = ".virtgate-partial"


def digest(path):
    """SHA-256 of a file; its holes are not read, which is slow."""
    hasher, zeros = hashlib.sha256(), bytes(MIB)
    fd = os.open(path, os.O_RDONLY)
    try:
        at, size = 0, os.fstat(fd).st_size
        while at < size:
            try:
                data = os.lseek(fd, at, os.SEEK_DATA)
            except OSError:
                data = size
            for place in range(at, data, MIB):
                hasher.update(zeros[: data - place])
            at = end = data
            if data < size:
                end = os.lseek(fd, data, os.SEEK_HOLE)
            while at < end:
                piece = os.pread(fd, min(MIB, end - at), at)
                hasher.update(piece)
                at += len(piece)
    finally:
        os.close(fd)
    return hasher.hexdigest()


@pytest.fixture(scope="module")
def store(running_suite):
    return running_suite.uri("virtgate", "/")


@pytest.fixture(scope="module")
def files(running_suite):
    """Where the store has its volumes."""
    return running_suite.directory / "pools" / "default"


@pytest.fixture(params=["netd and store", "libvirtd"])
def pool(request, store, private_libvirtd):
    """(URI, name) of a pool."""
    if request.param != "libvirtd":
        yield store, "default"
        return
    uri = f"storage+unix:///session?socket={private_libvirtd.socket}"
    directory = private_libvirtd.storage / "tools"
    directory.mkdir()
    if os.geteuid() == 0:
        os.chown(directory, NOBODY, NOBODY)
    run("virsh", "-q", "-c", uri, "pool-create-as", "tools", "dir", "--target", directory)
    yield uri, "tools"
    run("virsh", "-q", "-c", uri, "pool-destroy", "tools")
    for path in directory.iterdir():
        path.unlink()
    directory.rmdir()


@pytest.fixture(scope="module")
def source(scratch):
    """8 MiB, with a hole in the middle and one at the end."""
    path = scratch / "transfer-source"
    path.write_bytes(os.urandom(3 * MIB) + bytes(2 * MIB) + os.urandom(2 * MIB))
    with path.open("r+b") as file:
        file.truncate(8 * MIB)
    return path


@pytest.mark.parametrize("sparse", [(), ("--sparse",)])
def test_a_file_goes_up_and_comes_down(pool, source, tmp_path, sparse):
    uri, name = pool
    back = tmp_path / "back"
    text = answer("upload", f"{name}/disk", source, "--create", "--checksum", *sparse, uri=uri)
    assert text == f"{digest(source)}  {source}\n"
    said = answer("download", f"{name}/disk", back, "--checksum", "--json", *sparse, uri=uri)
    summary = json.loads(said)
    assert summary["sha256"] == digest(source) == digest(back) and summary["bytes"] == 8 * MIB
    assert [path.name for path in tmp_path.iterdir()] == ["back"]
    # A part, in both directions; and a pipe.
    answer("download", f"{name}/disk", back, "--offset", "1M", "--length", 3 * MIB, *sparse, uri=uri)
    assert back.read_bytes() == source.read_bytes()[MIB : 4 * MIB]
    answer("upload", f"{name}/disk", "-", "--offset", "5", "--length", 4, uri=uri, stdin="four and more")
    assert answer("download", f"{name}/disk", "-", "--offset", "5", "--length", 4, uri=uri) == "four"
    run("virsh", "-q", "-c", uri, "vol-delete", "disk", "--pool", name)


def test_a_gigabyte_between_virtgate_and_virsh(store, files, tmp_path):
    """Sparse, through netd: what `virtgate upload` sends, `virsh vol-download` gets, and the other way round."""
    there, back = tmp_path / "there", tmp_path / "back"
    with there.open("wb") as file:
        for place in (0, 100 * MIB, 777 * MIB, 1023 * MIB):
            file.seek(place)
            file.write(os.urandom(MIB))
        file.truncate(1024 * MIB)
    wanted = digest(there)
    answer("upload", "default/giga", there, "--create", "--sparse", uri=store, patience=120)
    run("virsh", "-q", "-c", store, "vol-download", "giga", back, "--pool", "default", "--sparse", patience=120)
    assert digest(back) == wanted and back.stat().st_size == 1024 * MIB
    back.unlink()
    run("virsh", "-q", "-c", store, "vol-upload", "giga", there, "--pool", "default", "--sparse", patience=120)
    text = answer("download", "default/giga", back, "--sparse", "--checksum", uri=store, patience=120)
    assert text.split()[0] == wanted and back.stat().st_size == 1024 * MIB
    for path in (files / "giga", back):
        assert path.stat().st_blocks * 512 <= 16 * MIB, f"{path} has no holes"
    run("virsh", "-q", "-c", store, "vol-delete", "giga", "--pool", "default")


def test_an_upload_goes_on_where_it_was_interrupted(store, files, source, tmp_path):
    fifo, content = tmp_path / "fifo", source.read_bytes()
    run("virsh", "-q", "-c", store, "vol-create-as", "default", "late", 8 * MIB)
    os.mkfifo(fifo)
    with tools.Background("upload", "-c", store, "default/late", fifo) as upload:
        with fifo.open("wb") as end:
            end.write(content[: 3 * MIB])
            end.flush()
            partial = files / f"late{PARTIAL}"
            upstream.poll(lambda: partial.exists() and partial.stat().st_size == 3 * MIB, what="the first bytes")
            status, error = upload.end(signal.SIGINT)
    assert status == INTERRUPTED and "--resume" in error, error
    assert not any((files / "late").read_bytes())
    upstream.poll(lambda: f"late{PARTIAL}" in answer("list", "volumes", "default", uri=store), what="the partial volume")
    summary = json.loads(answer("upload", "default/late", source, "--resume", "--checksum", "--json", uri=store))
    assert summary["bytes"] == 5 * MIB and summary["sha256"] == digest(source) == digest(files / "late")
    assert PARTIAL not in answer("list", "volumes", "default", uri=store)
    # Nothing is left to go on with: all of it is sent.
    done = virtgate("upload", "default/late", source, "--resume", uri=store)
    assert done.returncode == 0 and "all of it is sent" in done.stderr, done
    run("virsh", "-q", "-c", store, "vol-delete", "late", "--pool", "default")


def test_a_download_has_its_name_when_it_is_complete(store, files, source, tmp_path):
    run("virsh", "-q", "-c", store, "vol-create-as", "default", "whole", 8 * MIB)
    (files / "whole").write_bytes(source.read_bytes())
    back, partial = tmp_path / "back", tmp_path / f"back{PARTIAL}"
    back.write_bytes(b"old")
    partial.write_bytes(source.read_bytes()[: 5 * MIB + 3])
    summary = json.loads(answer("download", "default/whole", back, "--resume", "--checksum", "--json", uri=store))
    assert summary["bytes"] == 3 * MIB - 3 and summary["sha256"] == digest(back) == digest(source)
    assert not partial.exists()
    # All of it has arrived before.
    back.rename(partial)
    answer("download", "default/whole", back, "--resume", uri=store)
    assert digest(back) == digest(source)
    partial.write_bytes(bytes(9 * MIB))
    done = virtgate("download", "default/whole", back, "--resume", uri=store)
    assert done.returncode == USAGE and "have arrived already" in done.stderr
    # What fails leaves the old file.
    back.write_bytes(b"old")
    partial.unlink()
    done = virtgate("download", "default/none", back, uri=store)
    assert done.returncode == REFUSED and "virtgate-partial" not in done.stderr
    assert back.read_bytes() == b"old" and [path.name for path in tmp_path.iterdir()] == ["back"]
    run("virsh", "-q", "-c", store, "vol-delete", "whole", "--pool", "default")


def test_a_terminal_sees_how_far_it_is_and_a_pipe_does_not(store, source, tmp_path):
    done = virtgate("upload", "default/shown", source, "--create", uri=store)
    assert done.returncode == 0 and not done.stdout and not done.stderr
    back = tmp_path / "back"
    with tools.Terminal("download", "-c", store, "default/shown", back) as terminal:
        assert terminal.end() == 0
        # Fast ones end before anything is drawn.
        drawn = terminal.shown.replace(b"\r", b"\n").decode()
        assert not drawn.strip() or re.search(r"default/shown  \[#*\.*\] +\d+%  [\d.]+ \w+ of 8\.0 MiB  .*/s", drawn), drawn
    assert digest(back) == digest(source)
    run("virsh", "-q", "-c", store, "vol-delete", "shown", "--pool", "default")


def test_what_makes_no_sense():
    for words in (("upload", "disk", "/dev/null"), ("download", "a/", "x"), ("download", "a/b", "-", "--resume"),
                  ("upload", "a/b", "x", "--offset", "5x"), ("upload", "a/b", "x", "--resume", "--offset", "1K")):
        done = virtgate(*words, uri="test+unix:///default?socket=/none")
        assert done.returncode == USAGE, done
