# SPDX-License-Identifier: LGPL-2.1-or-later
"""certificates - throwaway authorities and client certificates, made with openssl."""

import pathlib
import subprocess

# libvirt's own client refuses a certificate of its own without keyEncipherment, so all carry it.
_LEAF = "basicConstraints=critical,CA:false\nkeyUsage=critical,digitalSignature,keyEncipherment\n"
_EXTENSIONS = {
    "client": _LEAF + "extendedKeyUsage=clientAuth\n",
    "nothing but a server": _LEAF + "extendedKeyUsage=critical,serverAuth\n",
    "server": _LEAF + "extendedKeyUsage=serverAuth\nsubjectAltName=DNS:localhost,IP:127.0.0.1,IP:::1\n",
    "ca": "basicConstraints=critical,CA:true\nkeyUsage=critical,keyCertSign,cRLSign\n",
}
_POLICY = """[policy]
countryName=optional
organizationName=optional
organizationalUnitName=optional
commonName=optional
"""


def _openssl(*arguments, **options):
    run = subprocess.run(
        ["openssl", *map(str, arguments)], capture_output=True, text=True, timeout=30, check=False, **options
    )
    assert run.returncode == 0, f"openssl {arguments[0]}: {run.stderr}"
    return run.stdout


def make_key(path):
    _openssl("genpkey", "-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-256", "-out", path)


class Authority:
    """A CA: the one of a suite (directory pki/ca of it), or a new one of somebody else."""

    def __init__(self, certificate, key, work):
        self.certificate, self.key, self.work = (
            pathlib.Path(certificate),
            pathlib.Path(key),
            pathlib.Path(work),
        )
        self.work.mkdir(parents=True, exist_ok=True)
        (self.work / "index").write_text("")
        (self.work / "serial").write_text("1000\n")
        (self.work / "ca.conf").write_text(
            f"[ca]\ndefault_ca=d\n[d]\ndatabase={self.work}/index\nserial={self.work}/serial\n"
            f"new_certs_dir={self.work}\n"
            "default_md=sha256\ndefault_days=30\nunique_subject=no\npreserve=yes\npolicy=policy\n" + _POLICY
        )

    @classmethod
    def new(cls, work, name="CN=Somebody else's CA"):
        work = pathlib.Path(work)
        work.mkdir(parents=True)
        make_key(work / "cakey.pem")
        (work / "ca.cnf").write_text(
            "[req]\ndistinguished_name=n\nx509_extensions=x\n[n]\n[x]\n" + _EXTENSIONS["ca"]
        )
        _openssl(
            "req",
            "-x509",
            "-new",
            "-key",
            work / "cakey.pem",
            "-out",
            work / "cacert.pem",
            "-subj",
            "/" + name,
            "-days",
            "30",
            "-config",
            work / "ca.cnf",
        )
        return cls(work / "cacert.pem", work / "cakey.pem", work / "issued")

    def issue(self, subject, kind="client", start=None, end=None):
        """(certificate, key) for a subject such as "/O=Example/CN=name"; start and end as YYYYMMDDHHMMSSZ.
        Names of files are unique.
        """
        count = len(list(self.work.glob("*.key")))
        key, request, out = (self.work / f"leaf{count}.{end}" for end in ("key", "csr", "crt"))
        make_key(key)
        (self.work / "extensions").write_text(_EXTENSIONS[kind])
        (self.work / "req.cnf").write_text("[req]\ndistinguished_name=n\n[n]\n")
        _openssl(
            "req",
            "-new",
            "-key",
            key,
            "-out",
            request,
            "-subj",
            subject,
            "-config",
            self.work / "req.cnf",
            "-utf8",
        )
        dates = (["-startdate", start] if start else []) + (["-enddate", end] if end else [])
        _openssl(
            "ca",
            "-batch",
            "-notext",
            "-config",
            self.work / "ca.conf",
            "-cert",
            self.certificate,
            "-keyfile",
            self.key,
            "-in",
            request,
            "-out",
            out,
            "-extfile",
            self.work / "extensions",
            *dates,
        )
        return out, key

    def pkipath(self, directory, subject, ca=None):
        """A directory for libvirt's pkipath, with a new client certificate; `ca` is the CA it trusts
        (default: this one).
        """
        directory = pathlib.Path(directory)
        directory.mkdir(parents=True)
        certificate, key = self.issue(subject)
        (directory / "cacert.pem").write_bytes(pathlib.Path(ca or self.certificate).read_bytes())
        (directory / "clientcert.pem").write_bytes(certificate.read_bytes())
        (directory / "clientkey.pem").write_bytes(key.read_bytes())
        return directory

    def write_crl(self, path, revoked):
        """Write a revocation list that names the certificates in `revoked`, all at once."""
        for certificate in revoked:
            _openssl(
                "ca", "-config", self.work / "ca.conf", "-cert", self.certificate, "-keyfile", self.key,
                "-revoke", certificate,
            )  # fmt: skip
        fresh = pathlib.Path(str(path) + ".new")
        _openssl(
            "ca", "-config", self.work / "ca.conf", "-cert", self.certificate, "-keyfile", self.key,
            "-gencrl", "-crldays", "30", "-out", fresh,
        )  # fmt: skip
        fresh.replace(path)
