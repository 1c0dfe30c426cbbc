# SPDX-License-Identifier: LGPL-2.1-or-later
"""test_pki_install - a server's certificate where virtgate-netd looks for it."""

import os
import pwd
import stat

import pytest

from vgtest import clients, suite

VIRTGATE = suite.BUILD / "virtgate"
FILES = ["cacert.pem", "serverkey.pem", "servercert.pem", "cacrl.pem"]


def attempt(*words):
    return clients.attempt(VIRTGATE, "pki", *words)


def pki(*words):
    return clients.run(VIRTGATE, "pki", *words)


@pytest.fixture
def store(scratch, request):
    directory = scratch / f"install-{request.node.name}"
    pki("init", "--dir", directory / "store", "--organisation", "Example")
    pki("server", "front", "127.0.0.1", "--dir", directory / "store")
    return directory / "store"


def install(store, *more):
    me = pwd.getpwuid(os.geteuid()).pw_name
    return attempt("install", "front", "--dir", store, "--to", store.parent / "tls", "--user", me, *more)


def written(done):
    return [line.rpartition("/")[2] for line in done.stdout.splitlines()[:-1]]


def test_all_files_are_there_and_the_key_is_closed(store):
    done = install(store)
    assert done.returncode == 0 and written(done) == FILES, done
    target = store.parent / "tls"
    for name in FILES:
        mode = stat.S_IMODE((target / name).stat().st_mode)
        assert mode == (0o600 if "key" in name else 0o644), name
    source = store / "servers" / "front"
    for name in FILES[:3]:
        assert (target / name).read_bytes() == (source / name).read_bytes()
    assert (target / "cacrl.pem").read_bytes() == (store / "ca" / "cacrl.pem").read_bytes()
    assert not [name for name in os.listdir(target) if name not in FILES]


def test_only_what_has_changed_is_written_again(store):
    install(store)
    again = install(store)
    assert again.returncode == 0 and again.stdout == "Nothing has changed.\n"
    pki("renew", "front", "--dir", store)
    renewed = install(store)
    assert written(renewed) == ["servercert.pem"], renewed
    (store.parent / "tls" / "serverkey.pem").chmod(0o640)
    mended = install(store)
    assert written(mended) == ["serverkey.pem"], mended
    assert stat.S_IMODE((store.parent / "tls" / "serverkey.pem").stat().st_mode) == 0o600


def test_another_authority_is_replaced_only_on_demand(store):
    install(store)
    other = store.parent / "other"
    pki("init", "--dir", other, "--organisation", "Other")
    pki("server", "front", "--dir", other)
    before = {name: (store.parent / "tls" / name).read_bytes() for name in FILES}
    words = ("install", "front", "--dir", other, "--to", store.parent / "tls", "--user", "root")
    words = words[:-1] + (pwd.getpwuid(os.geteuid()).pw_name,)
    refused = attempt(*words)
    assert refused.returncode != 0 and "another authority" in refused.stderr, refused
    assert before == {name: (store.parent / "tls" / name).read_bytes() for name in FILES}
    assert attempt(*words, "--replace").returncode == 0
    assert before["cacert.pem"] != (store.parent / "tls" / "cacert.pem").read_bytes()


def test_a_link_is_replaced_and_not_followed(store):
    target = store.parent / "tls"
    target.mkdir()
    victim = store.parent / "victim"
    victim.write_text("untouched")
    (target / "serverkey.pem").symlink_to(victim)
    assert install(store).returncode == 0
    assert victim.read_text() == "untouched" and not (target / "serverkey.pem").is_symlink()


@pytest.mark.parametrize(
    "words, said",
    [
        (("install", "nobody"), "there is no server"),
        (("install", "front", "--user", "no-such-user"), "there is no user no-such-user"),
    ],
)
def test_mistakes_are_named(store, words, said):
    refused = attempt(*words, "--dir", store, "--to", store.parent / "tls", *(() if "--user" in words else ("--user", "root")))
    assert refused.returncode != 0 and said in refused.stderr, refused
    assert not (store.parent / "tls").exists()


def test_client_is_no_server(store):
    pki("client", "alice", "--dir", store)
    refused = attempt("install", "alice", "--dir", store, "--to", store.parent / "tls", "--user", "root")
    assert refused.returncode != 0 and "there is no server" in refused.stderr, refused
