# SPDX-License-Identifier: LGPL-2.1-or-later
"""test_migrate - "virtgate migrate-config": libvirt's configuration files, good and bad, and what becomes of them.

Whether a file is one is also asked of libvirtd itself.
"""

import getpass
import json
import os
import pathlib
import random
import re
import shutil
import subprocess
import tempfile
import tomllib

import pytest

from vgtest import clients, libvirtd
from vgtest.clients import attempt
from vgtest.suite import BUILD

TOP = pathlib.Path(__file__).resolve().parents[2]
VIRTGATE = BUILD / "virtgate"
PAGE = TOP / "docs/man/virtgate-migrate-config.1"

# Every setting that libvirtd 9.0 reads; the paths are filled in.
ALL_KEYS = """\
listen_tls = 1
listen_tcp = 1
tls_port = "16599"
tcp_port = "16598"
listen_addr = "127.0.0.1"
unix_sock_group = "root"
unix_sock_ro_perms = "0777"
unix_sock_rw_perms = "0770"
unix_sock_admin_perms = "0700"
unix_sock_dir = "/srv/run/libvirt"
auth_unix_ro = "none"
auth_unix_rw = "none"
auth_tcp = "sasl"
auth_tls = "none"
tcp_min_ssf = 112
access_drivers = [ "polkit" ]
key_file = "PKI/serverkey.pem"
cert_file = "PKI/servercert.pem"
ca_file = "PKI/cacert.pem"
crl_file = "PKI/cacrl.pem"
tls_no_sanity_certificate = 1
tls_no_verify_certificate = 0
tls_allowed_dn_list = ["C=GB,O=Example\\, Ltd,CN=alice", "C=GB,CN=web-*", "*CN=admin*"]
sasl_allowed_username_list = ["joe@EXAMPLE.ORG", "*@OPS.EXAMPLE.ORG"]
tls_priority = "NORMAL"
max_clients = 500
max_queued_clients = 100
max_anonymous_clients = 20
min_workers = 5
max_workers = 20
prio_workers = 5
max_client_requests = 7
admin_min_workers = 1
admin_max_workers = 5
admin_max_clients = 5
admin_max_queued_clients = 5
admin_max_client_requests = 5
admin_keepalive_interval = 5
admin_keepalive_count = 5
log_level = 2
log_filters = "1:qemu"
log_outputs = "3:journald"
audit_level = 2
audit_logging = 1
host_uuid = "00000000-0000-0000-0000-000000000001"
host_uuid_source = "smbios"
keepalive_interval = -1
keepalive_count = 3
ovs_timeout = 5
"""


def migrate(*words):
    return attempt(VIRTGATE, "migrate-config", *words)


@pytest.fixture(scope="module")
def pki(tmp_path_factory):
    """A directory with a server's certificates, key and list of revoked ones, under libvirt's names."""
    work = tmp_path_factory.mktemp("migrate-pki")
    for words in (["init", "--organisation", "Example"], ["server", "localhost"], ["crl"],
                  ["install", "localhost", "--to", work / "tls", "--user", getpass.getuser()]):  # fmt: skip
        done = attempt(VIRTGATE, "pki", *words, "--dir", work / "ca")
        assert done.returncode == 0, done.stderr
    return work / "tls"


@pytest.fixture
def convert(tmp_path, pki):
    """convert(text, words…): the report, and the directory with what was written, which the daemons have found right."""

    def call(text, *words, name="libvirtd.conf"):
        source, out = tmp_path / name, tmp_path / "out"
        source.write_text(text.replace("PKI", str(pki)))
        shutil.rmtree(out, ignore_errors=True)
        done = migrate(source, "--output", out, "--json", "--without-systemd", *words)
        assert done.returncode in (0, 1), done.stderr
        report = json.loads(done.stdout)
        assert (done.returncode == 1) == any(one["outcome"] == "open" for one in report["findings"])
        assert {file["path"]: file["text"] for file in report["files"]} == {
            str(path.relative_to(out)): path.read_text() for path in out.rglob("*") if path.is_file()
        }
        # Where the file names no certificates, those of the machine do not matter here.
        netd = tomllib.loads((out / "netd.toml").read_text())
        if "certificate" not in netd.get("tls", {}):
            files = f'[tls]\ncertificate = "{pki}/servercert.pem"\nkey = "{pki}/serverkey.pem"\nca = "{pki}/cacert.pem"\n'
            with_files = re.sub(r"^\[tls\]\n", files, (out / "netd.toml").read_text(), flags=re.M)
            (out / "netd.toml").write_text(with_files if files in with_files else with_files + files)
        for command in (["config", "check", "--config", out / "netd.toml", "netd"],
                        ["config", "show", "--config", out / "workerd.toml", "workerd"],
                        ["policy", "check", out / "policy.d"]):  # fmt: skip
            checked = attempt(VIRTGATE, *command)
            assert checked.returncode == 0, checked.stdout + checked.stderr
        return report, out

    return call


def settings(out, daemon="netd"):
    return tomllib.loads((out / f"{daemon}.toml").read_text())


def alternatives(out):
    policy = tomllib.loads((out / "policy.d/50-libvirt.toml").read_text())
    return policy.get("identity", {}).get("libvirt", {}).get("any", [])


def outcomes(report):
    return {(one["key"], one["outcome"]) for one in report["findings"]}


def is_let_in(out, *client):
    done = attempt(VIRTGATE, "policy", "explain", "--dir", out / "policy.d", *client, "connect_get_hostname")
    return done.returncode == 0


# --- what becomes of it ---


def test_every_key_is_accounted_for(convert, pki):
    report, out = convert(ALL_KEYS)
    keys = re.findall(r"^(\w+) =", ALL_KEYS, re.M)
    assert {one["key"] for one in report["findings"] if one["line"]} == set(keys)
    for one in report["findings"]:
        assert not one["line"] or keys[one["line"] - 1] == one["key"]
        assert one["where"] or one["text"], one
    assert settings(out) == {
        "log_level": "info",
        "log_outputs": ["3:journald"],
        "tls": {"address": "127.0.0.1", "port": 16599, "certificate": f"{pki}/servercert.pem", "ca": f"{pki}/cacert.pem",
                "crl": f"{pki}/cacrl.pem", "key": f"{pki}/serverkey.pem", "priority": "NORMAL"},
        "tcp": {"address": "127.0.0.1", "port": 16598, "enabled": True, "min_strength": 112},
        "unix": {"group": "root", "mode": "0770", "read_only_mode": "0777"},
        "keepalive": {"interval": 0, "count": 3},
        "limits": {"calls_in_flight": 7, "arrivals": 20},
    }  # fmt: skip
    workerd = settings(out, "workerd")
    assert workerd["limits"] == {"sessions": 500, "sessions_per_identity": 500}
    assert {"uri": "qemu:///system", "socket": "/srv/run/libvirt/libvirt-sock",
            "read_only_socket": "/srv/run/libvirt/libvirt-sock-ro"} in workerd["upstream"]  # fmt: skip
    assert alternatives(out) == [
        {"unix": {"user": "root"}},
        {"unix": {"group": "root"}},
        {"x509": {"C": "GB", "O": "Example, Ltd", "CN": "alice"}},
        {"x509": {"C": "GB", "CN": "glob:web-*"}},
        {"sasl": "joe@EXAMPLE.ORG"},
        {"sasl": "glob:*@OPS.EXAMPLE.ORG"},
    ]


def test_the_policy_lets_in_whom_libvirt_let_in_and_nobody_else(convert, tmp_path):
    _, out = convert(ALL_KEYS)

    def has_certificate(subject):
        clients.run("openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2",
                    "-subj", subject, "-addext", "basicConstraints=critical,CA:FALSE", "-addext", "extendedKeyUsage=clientAuth",
                    "-keyout", tmp_path / "key.pem", "-out", tmp_path / "cert.pem")  # fmt: skip
        return is_let_in(out, "--cert", tmp_path / "cert.pem")

    assert has_certificate("/C=GB/O=Example, Ltd/CN=alice")
    assert has_certificate("/C=GB/CN=web-7")
    assert not has_certificate("/C=GB/O=Example/CN=alice")
    # libvirt's "*CN=admin*" let in this one.
    assert not has_certificate("/O=evil/CN=x,CN=admin")
    assert is_let_in(out, "--sasl", "eve@OPS.EXAMPLE.ORG")
    assert not is_let_in(out, "--sasl", "eve@EXAMPLE.ORG")


def test_an_empty_file(convert):
    report, out = convert("# nothing\n")
    # polkit is libvirt's default, and decides something that the file does not say.
    assert outcomes(report) == {("auth_unix_rw", "open")}
    assert alternatives(out) == [{"unix": {"user": "root"}}, {"x509": {"CN": "glob:*"}}]
    assert "tcp" not in settings(out)
    # What is offered besides is a policy as well, and lets nobody do more than look.
    policy = out / "policy.d/50-libvirt.toml"
    offered = re.sub(r"^#     ", "", policy.read_text().split("too:\n#\n")[1], flags=re.M).replace('"users"', '"daemon"')
    policy.write_text(policy.read_text() + offered)
    assert attempt(VIRTGATE, "policy", "check", "--strict", out / "policy.d").returncode == 0
    assert attempt(VIRTGATE, "policy", "explain", "--dir", out / "policy.d", "--identity", "readers",
                   "DOMAIN_DESTROY", "domain=x").returncode == 1  # fmt: skip


def test_an_empty_list_lets_in_nobody(convert):
    _, out = convert('tls_allowed_dn_list = []\nauth_unix_rw = "sasl"\nauth_unix_ro = "sasl"\nsasl_allowed_username_list = []\n')
    assert alternatives(out) == []


def test_certificate_and_login(convert):
    text = 'auth_tls = "sasl"\nauth_unix_rw = "none"\ntls_allowed_dn_list = ["CN=a", "CN=b"]\nsasl_allowed_username_list = ["u"]\n'
    _, out = convert(text)
    assert settings(out)["tls"]["authentication"] == "x509+sasl"
    assert alternatives(out)[1:] == [{"x509": {"CN": "a"}, "sasl": "u"}, {"x509": {"CN": "b"}, "sasl": "u"}]
    # Over TCP there is no certificate; a rule for that would hold over TLS, too, with any certificate.
    report, out = convert(text + "listen_tcp = 1\n")
    assert ("sasl_allowed_username_list", "open") in outcomes(report) and {"sasl": "u"} not in alternatives(out)
    # Without a list of certificates it is the same rule.
    _, out = convert('auth_tls = "sasl"\nsasl_allowed_username_list = ["u"]\nlisten_tcp = 1\n')
    assert alternatives(out)[1:] == [{"sasl": "u"}]


def test_what_would_open_the_door_is_not_taken_over(convert):
    report, out = convert('tls_no_verify_certificate = 1\nlisten_tcp = 1\nauth_tcp = "none"\n')
    assert {("tls_no_verify_certificate", "open"), ("listen_tcp", "open"), ("auth_tcp", "open")} <= outcomes(report)
    assert alternatives(out) == [{"unix": {"user": "root"}}] and "enabled" not in settings(out).get("tcp", {})
    report, out = convert('auth_unix_rw = "none"\nunix_sock_rw_perms = "0777"\nauth_tls = "polkit"\n')
    assert {("unix_sock_rw_perms", "open"), ("auth_tls", "open")} <= outcomes(report)
    assert alternatives(out) == [{"unix": {"user": "root"}}]
    # Nobody is asked for a certificate, so a list of them says nothing.
    report, out = convert('tls_no_verify_certificate = 1\nauth_tls = "sasl"\ntls_allowed_dn_list = ["CN=a"]\n')
    assert settings(out)["tls"]["authentication"] == "sasl" and {"sasl": "glob:*"} in alternatives(out)
    assert ("tls_allowed_dn_list", "unneeded") in outcomes(report)


@pytest.mark.parametrize("entry, reason", [
    ("*CN=admin*", "stands for several parts"),
    ("C=GB,*", "is no ATTRIBUTE=VALUE"),
    ("DC=org,DC=example,CN=x", "DC is there twice"),
    ("cn=bob", '"cn" is no attribute that libvirt shows'),
    ("O=Example, CN=x", "without blanks"),
    ("CN=#0c0161", "hexadecimal"),
    ("CN=a+OU=b", "joins two attributes"),
    ("CN=glob:x", "would be a pattern"),
    ("CN=[a-z]*", "cannot have"),
    ("CN=", "nothing to compare"),
    ("CN=a\\", "backslash"),
    ("1.2.3=a", "no attribute that libvirt shows"),
    ("", "is no ATTRIBUTE=VALUE"),
])  # fmt: skip
def test_names_that_no_policy_can_say(convert, entry, reason):
    report, out = convert(f"tls_allowed_dn_list = ['{entry}', 'CN=good']\n")
    lost = [one for one in report["findings"] if one["key"] == "tls_allowed_dn_list" and one["outcome"] == "open"]
    assert len(lost) == 1 and reason in lost[0]["text"]
    assert [one for one in alternatives(out) if "x509" in one] == [{"x509": {"CN": "good"}}]


def test_texts_cannot_leave_their_quotes(convert):
    _, out = convert("tls_allowed_dn_list = ['CN=a\\\\\"b', 'O=]}\n']\n".replace("\n'", "'"))
    assert [one for one in alternatives(out) if "x509" in one] == [{"x509": {"CN": 'a\\"b'}}, {"x509": {"O": "]}"}}]


def test_more_names_than_one_identity_has(convert):
    names = ", ".join(f'"CN=host-{number}"' for number in range(100))
    report, out = convert(f"tls_allowed_dn_list = [{names}]\n")
    policy = tomllib.loads((out / "policy.d/50-libvirt.toml").read_text())
    assert set(policy["identity"]) == {"libvirt", "libvirt-2"} == set(policy["binding"][0]["identity"])
    assert ("", "open") in outcomes(report) and is_let_in(out, "--subject", "CN=host-99")


def test_daemons_of_drivers(convert):
    report, out = convert('listen_tcp = 1\nauth_unix_rw = "none"\nunix_sock_dir = "/srv/x"\n', name="virtqemud.conf")
    assert report["daemon"] == "virtqemud" and ("listen_tcp", "unneeded") in outcomes(report)
    assert [row["socket"] for row in settings(out, "workerd")["upstream"]] == ["/srv/x/virtqemud-sock"]
    report, out = convert('unix_sock_dir = "/srv/x"\n', name="virtproxyd.conf")
    assert ("unix_sock_dir", "unneeded") in outcomes(report) and "upstream" not in settings(out, "workerd")


def test_what_libvirt_ignores(convert):
    report, out = convert('max_client = 7\nlog_level = 4\nlog_level = 1\nkeepalive_required = 1\n')
    found = {(one["key"], one["line"]): one for one in report["findings"]}
    assert '(did you mean "max_client' in found["max_client", 1]["text"]
    assert settings(out)["log_level"] == "error" and "line 2 has it before" in found["log_level", 3]["text"]


def test_units_get_drop_ins(tmp_path):
    (tmp_path / "libvirtd.conf").write_text('tls_port = "1234"\nlisten_addr = "2001:db8::1"\nunix_sock_rw_perms = "0770"\n')
    report = json.loads(migrate(tmp_path / "libvirtd.conf", "--json").stdout)
    files = {file["path"]: file["text"] for file in report["files"]}
    tls = files["systemd/virtgate-netd.socket.d/50-libvirt.conf"]
    assert tls.splitlines()[1:] == ["[Socket]", "ListenStream=", "ListenStream=[2001:db8::1]:1234"]
    assert "SocketMode=0770" in files["systemd/virtgate-netd-unix.socket.d/50-libvirt.conf"]
    for path in files:
        if path.startswith("systemd/"):
            assert (TOP / "packaging" / path.split(".d/")[0]).exists(), path
    assert report["written"] == [] and sorted(os.listdir(tmp_path)) == ["libvirtd.conf"]


# --- files that are no such files ---

# What, and where and how it is refused; None: it is taken. libvirtd is asked the same.
FORMS = [
    ("log_level=3 # c", None),
    ("  log_level\t=\t3\r", None),
    ("log_level=3; log_outputs = '4:stderr'", None),
    ("log_level = +3", None),
    ('log_outputs = """4:stderr"""', None),
    ('tls_allowed_dn_list = [\n"a",\n\n "b",\n]', None),
    ("tls_allowed_dn_list = []", None),
    ("unheard_of = 3", None),
    ('tls_allowed_dn_list = [\n"a", # c\n]', "2:6: error: libvirt takes no comment inside of a list"),
    ('tls_allowed_dn_list = "a"', '1:23: error: "tls_allowed_dn_list" has to be a list'),
    ("tls_allowed_dn_list = [1]", "1:24: error: a list has texts in quotes"),
    ('tls_allowed_dn_list = ["a" "b"]', "1:28: error: between the texts of a list there has to be a comma"),
    ('tls_allowed_dn_list = ["a",', "1:23: error: the list that begins here has no closing bracket"),
    ("log_level = 0x3", "1:14: error: after a value there has to be the end of the line"),
    ("log_level = -3", '1:13: error: "log_level" has to be from 0'),
    ("log_level = 99999999999999999999", "1:13: error: the number is too large"),
    ('log_level = "3"', '1:13: error: "log_level" has to be a number'),
    ("log_level\n= 3", '1:10: error: after "log_level" there has to be "="'),
    ("log_level = \n3", '1:13: error: "log_level" has to have a number'),
    ("auth_tls = sasl", '1:12: error: "auth_tls" has to have'),
    ('auth_tls = "sals"', '1:12: error: "auth_tls" has to be "none", "sasl" or "polkit" (did you mean "sasl"?)'),
    ("tls_port = 16514", '1:12: error: "tls_port" has to be a text'),
    ("listen_tls = 2", '1:14: error: "listen_tls" has to be 0 or 1'),
    ('log_filters = "a\\"b"', "1:19: error: after a value"),
    ('log_filters = "a\nb"', "1:15: error: the text that begins here has no closing quotes"),
    ("a.b = 3", '1:2: error: after "a" there has to be "="'),
    ("_a = 3", '1:1: error: a line has to begin with the name of a setting, not with "_"'),
    ("[tls]", "1:1: error: a line has to begin"),
    ("log_level = 3 log_level = 2", "1:15: error: after a value"),
]  # fmt: skip


@pytest.fixture(scope="module")
def libvirtd_takes():
    """Whether libvirtd takes a file. It never gets to serve: what it reads ends with a contradiction that it finds later. As root it
    would use directories of this machine, so it is nobody's then.
    """
    work = pathlib.Path(tempfile.mkdtemp(prefix="vgt-libvirtd-"))
    stranger = []
    if os.geteuid() == 0:
        os.chown(work, libvirtd.NOBODY, libvirtd.NOBODY)
        stranger = ["setpriv", f"--reuid={libvirtd.NOBODY}", f"--regid={libvirtd.NOBODY}", "--clear-groups"]

    def ask(text):
        (work / "c.conf").write_text(text + "\nmax_clients = 1\nmax_anonymous_clients = 2\n")
        done = attempt(*stranger, libvirtd.PROGRAM, "-f", work / "c.conf", "-p", work / "pid", patience=20,
                       environment={"XDG_RUNTIME_DIR": str(work), "XDG_CONFIG_HOME": str(work), "XDG_CACHE_HOME": str(work),
                                    "HOME": str(work)})  # fmt: skip
        assert done.returncode != 0, "it has started"
        return "clients waiting for authentication" in done.stderr

    yield ask
    shutil.rmtree(work)


@pytest.mark.parametrize("text, refusal", FORMS, ids=range(len(FORMS)))
def test_forms(tmp_path, libvirtd_takes, text, refusal):
    file = tmp_path / "libvirtd.conf"
    file.write_bytes(text.encode() + b"\n")
    done = migrate(file, "--output", tmp_path / "out")
    if refusal is None:
        assert done.returncode in (0, 1), done.stderr
    else:
        assert done.returncode == os.EX_CONFIG and f"{file}:{refusal}" in done.stderr, done.stderr
        assert not (tmp_path / "out").exists()
    # It looks at the values of auth_* only when it serves, for root in another way than for others.
    if "sals" not in text:
        assert libvirtd_takes(text) == (refusal is None)


@pytest.mark.parametrize("content, refusal", [
    (b"\0\0\0", "1:1: error: a line has to begin"),
    (b'listen_addr = "\xff\xfe"\n', "1:15: error: the text that begins here has control characters, or is not UTF-8"),
    (b'listen_addr = "\x1b[31m"\n', "1:15: error: the text that begins here has control characters"),
    ("host_uuid = 'ä'; listen_addr = 3\n".encode(), '1:32: error: "listen_addr" has to be a text'),
    (b'key_file = "/a"\n', '1:12: error: "key_file", "cert_file" and "ca_file" have to be set together'),
    (b'tls_port = "no-such-service"\n', '1:12: error: "tls_port" has to be a port'),
    (b"max_anonymous_clients = 6000\n", '1:25: error: "max_anonymous_clients" is more than "max_clients"'),
    (b'unix_sock_rw_perms = "0999"\n', "1:22: error: "),
    (random.Random(1).randbytes(3000).replace(b"\n", b"") + b"=", "1:1: error: "),
])  # fmt: skip
def test_hostile_files(tmp_path, content, refusal):
    file = tmp_path / "libvirtd.conf"
    file.write_bytes(b"\1" + content if content.endswith(b"=") else content)
    done = migrate(file)
    assert done.returncode == os.EX_CONFIG and f"{file}:{refusal}" in done.stderr, done.stderr
    assert done.stdout == "" and not re.search(r"[\x00-\x09\x0b-\x1f\x7f]", done.stderr)


def test_all_wrong_types_are_told_at_once(tmp_path):
    (tmp_path / "x.conf").write_text('log_level = "a"\nmax_clients = "b"\nlisten_tcp = 7\n')
    done = migrate(tmp_path / "x.conf")
    assert [line.split(":")[1] for line in done.stderr.splitlines()] == ["1", "2", "3"]


# --- files that are there, or not ---


def test_nothing_is_overwritten(tmp_path):
    source, out = tmp_path / "libvirtd.conf", tmp_path / "deep" / "out"
    source.write_text("log_level = 1\n")
    out.parent.mkdir()
    assert migrate(source, "--output", out).returncode == 1
    (out / "netd.toml").write_text("# mine\n")
    (out / "workerd.toml").unlink()
    done = migrate(source, "--output", out)
    assert done.returncode == os.EX_OSERR and f"{out}/netd.toml exists, and nothing was written: --force" in done.stderr
    assert (out / "netd.toml").read_text() == "# mine\n" and not (out / "workerd.toml").exists()
    done = migrate(source, "--output", out, "--force")
    assert f"written:\n  {out}/netd.toml\n  {out}/workerd.toml\n" in done.stdout
    assert 'log_level = "debug"' in (out / "netd.toml").read_text()
    assert not list(out.rglob("*.new")), "something was left behind"


def test_files_that_cannot_be_read_or_written(tmp_path):
    done = migrate(tmp_path / "none.conf")
    assert done.returncode == os.EX_NOINPUT and "No such file or directory" in done.stderr
    (tmp_path / "a.conf").write_text("")
    done = migrate(tmp_path / "a.conf", "--output", tmp_path / "a.conf")
    assert done.returncode == os.EX_OSERR and "cannot make the directory" in done.stderr
    done = migrate(tmp_path / "a.conf", "--force")
    assert done.returncode == os.EX_USAGE and "--force is for --output" in done.stderr


# --- manual page and completions ---


def test_manual_and_completions_have_every_option():
    help_ = attempt(VIRTGATE, "help", "migrate-config").stdout
    known = set(re.findall(r"^ +(?:-\w, ?)?(--[a-z-]+)", help_, re.M)) - {"--help"}
    assert known == {"--output", "--force", "--json", "--without-systemd"}
    assert {f"--{word}" for word in re.findall(r"Fl -([a-z-]+)", PAGE.read_text())} == known
    zsh = (TOP / "packaging/completions/_virtgate").read_text()
    block = re.search(r"^        migrate-config\)\n(.*?);;$", zsh, re.M | re.S)[1]
    assert set(re.findall(r"--[a-z-]+", block)) - {"--help"} == known
    script = f"""
        . {TOP}/packaging/completions/virtgate.bash
        compopt() {{ :; }}
        COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1)); _virtgate
        printf '%s\\n' "${{COMPREPLY[@]}}"
    """
    done = subprocess.run(["bash", "-c", script, "bash", VIRTGATE, "migrate-config", "--"],
                          capture_output=True, text=True, check=True)  # fmt: skip
    assert set(done.stdout.split()) - {"--help"} == known


def test_what_is_logged_is_passed_on(convert):
    report, out = convert(
        'log_outputs = "3:syslog:libvirtd 1:file:/var/log/libvirt/libvirtd.log 2:journald"\n'
        'log_filters = "1:rpc 1:+qemu 3:access.accessmanager 4:util"\n'
        "max_anonymous_clients = 33\n"
    )
    netd, workerd = settings(out), settings(out, "workerd")
    assert netd["log_outputs"] == ["3:syslog:virtgate-netd", "2:journald"]
    assert workerd["log_outputs"] == ["3:syslog:virtgate-workerd", "2:journald"]
    assert netd["log_filters"] == ["1:gate", "1:doorman"] and workerd["log_filters"] == ["3:worker"]
    assert netd["limits"]["arrivals"] == 33
    found = [(one["key"], one["outcome"]) for one in report["findings"] if one["line"]]
    assert ("log_outputs", "taken") in found and ("log_outputs", "open") in found and ("log_filters", "taken") in found
    texts = " ".join(one["text"] for one in report["findings"])
    assert "1:file:/var/log/libvirt/libvirtd.log" in texts and "1:+qemu 4:util are about" in texts


def test_filters_of_libvirts_own_parts_stay(convert):
    report, out = convert('log_filters = "1:qemu"\nmax_anonymous_clients = 0\nlog_outputs = ""\n')
    assert "log_filters" not in settings(out) and "log_outputs" not in settings(out)
    assert {("log_filters", "stays"), ("max_anonymous_clients", "unneeded"), ("log_outputs", "unneeded")} <= outcomes(report)
