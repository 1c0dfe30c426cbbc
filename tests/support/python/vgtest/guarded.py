# SPDX-License-Identifier: LGPL-2.1-or-later
"""guarded - a suite under a policy of the test's own, in front of libvirt's test driver: the stage of the tests about who
may do what.

A client is called by the CN of its certificate here, which is made when it is first needed; None is the client of `virtgate
up` itself, which may do everything.
"""

import json
import os
import signal

from vgtest import clients, suite, upstream, wire

PATIENCE = 15.0


def domain_xml(name, uuid, kind="test"):
    """The smallest machine that libvirt defines."""
    return (
        f"<domain type='{kind}'><name>{name}</name><uuid>{uuid}</uuid><memory>8192</memory><vcpu>1</vcpu>"
        "<os><type>hvm</type></os></domain>"
    )


def domains_xml(domains):
    """The same for each of {name: uuid}."""
    return "".join(domain_xml(name, uuid) for name, uuid in domains.items())


def kinds_xml():
    """Two objects of each kind that the test driver knows: "mine-…" and, with TELLTALE in its description, "yours-…". In
    mine-pool there is one of each, too.
    """
    parts = []
    for n, (who, mark) in enumerate((("mine", "plain"), ("yours", TELLTALE)), 1):
        uuid = uuid_of(n)
        domain = domain_xml(f"{who}-dom", uuid).replace("<memory>", f"<title>{mark}</title><memory>")
        network = (
            f"<network><name>{who}-net</name><uuid>{uuid}</uuid><bridge name='{mark}{n}'/>"
            f"<ip address='192.168.{n}.1' netmask='255.255.255.0'/></network>"
        )
        volumes = "".join(
            f"<volume><name>{name}</name><capacity>1000000</capacity><allocation>50000</allocation>"
            f"<target><path>/{mark}-{who}/{name}</path></target></volume>"
            for name in (["mine-vol", "yours-volume"] if who == "mine" else ["yours-vol"])
        )
        pool = (
            f"<pool type='dir'><name>{who}-pool</name><uuid>{uuid}</uuid><target><path>/{mark}-{who}</path></target>"
            f"{volumes}</pool>"
        )
        interface = (
            f"<interface type='ethernet' name='{who}-if'><start mode='onboot'/><mac address='aa:bb:cc:dd:ee:0{n}'/>"
            "<mtu size='1492'/></interface>"
        )
        device = (
            f"<device><name>{who}-dev</name><parent>computer</parent><capability type='usb_device'><bus>1</bus>"
            f"<device>{n}</device><product id='0x0001'>{mark}</product><vendor id='0x0002'/></capability></device>"
        )
        parts += [domain, network, pool, interface, device]
    return "".join(parts)


# Stands in what hides, and in nothing that a client sends.
TELLTALE = "xyzzy"


def uuid_of(n):
    """Of mine (1) and of yours (2)."""
    return f"{n}" * 8 + "-1111-4111-8111-" + f"{n}" * 12


class Guarded(suite.Suite):
    """`policy` is the text of a file "20-NAME.toml", without its version; NAME is that of the directory. `node` is what
    libvirt's test driver finds, in XML (its own test:///default if there is none). `self.target` is the URI without
    transport.
    """

    def __init__(self, directory, like, socket, authority, policy, node=None, settings=None):
        like.lend_certificates(directory)
        self.path = "/default"
        if node is not None:
            file = directory.with_suffix(".xml")
            file.write_text(f"<node>{node}</node>")
            file.chmod(0o644)
            self.path = str(file)
        self.target = f"test://{self.path}"
        super().__init__(directory, {self.target: socket}, settings)
        self.authority, self.policy_file = authority, f"20-{directory.name}.toml"
        self.add_policy(self.policy_file, policy)

    # --- clients ---

    def pki_of(self, who):
        """The directory with the certificate of `who`."""
        if who is None:
            return self.pki
        directory = self.directory.with_name(f"{self.directory.name}-pki-{who}")
        return directory if directory.exists() else self.authority.pkipath(directory, f"/CN={who}")

    def dial(self, who, **options):
        """A raw client with the certificate of `who`, which has not opened anything."""
        return self.connect(context=wire.tls_context(self.pki_of(who)), **options)

    def open_as(self, who):
        """A raw client, at the test driver."""
        return self.dial(who).open(self.target)

    def uri_of(self, who, more=""):
        """The URI for libvirt's own clients."""
        return self.uri(path=self.path, pki=self.pki_of(who), more=more)

    def virsh(self, who, *words):
        """Runs virsh to its end, whatever comes of it: subprocess.CompletedProcess."""
        return clients.attempt("virsh", "-q", "-c", self.uri_of(who), *words)

    # --- the policy ---

    @property
    def policy_directory(self):
        return self.directory / "etc" / "policy.d"

    def change_policy(self, text, name=None):
        """Writes the file anew, in one step, and asks for it to be read, without waiting."""
        new = self.directory / "etc" / "policy.new"
        new.write_text("version = 1\n" + text)
        new.rename(self.policy_directory / (name or self.policy_file))
        os.kill(self.pids("virtgate-workerd")[0], signal.SIGHUP)

    def reload(self, text, name=None):
        """The same with a good policy; returns when it is in force."""
        marks = self.log().count("identities in force")
        self.change_policy(text, name)
        upstream.poll(lambda: self.log().count("identities in force") > marks, PATIENCE, "the new policy")

    # --- what the auditor wrote ---

    @property
    def records_file(self):
        return self.directory / "audit.jsonl"

    def records(self, **wanted):
        """The records whose fields have these values."""
        lines = self.records_file.read_text().splitlines() if self.records_file.exists() else []
        return [record for record in map(json.loads, lines) if wanted.items() <= record.items()]

    def wait_for_records(self, count=1, **wanted):
        """The same, as soon as there are `count` of them."""
        upstream.poll(
            lambda: len(self.records(**wanted)) >= count,
            PATIENCE,
            lambda: f"{wanted} in {self.records()[-5:]}",
        )
        return self.records(**wanted)


def virtgate(*words, **options):
    """Runs the command to its end, whatever comes of it."""
    return clients.attempt(suite.BUILD / "virtgate", *words, **options)
