# Copyright (c) 2026 The matrixrtc.backend authors
# SPDX-License-Identifier: Apache-2.0
"""What an operator's server looks like before this collection touches it: files rendered for one site."""

from __future__ import annotations

import base64
import io
import secrets as tokens
import tarfile
import time
from collections.abc import Iterable
from dataclasses import dataclass

import jinja2

from .certificates import Authority, issue
from .definitions import Image, Site
from .paths import TEMPLATES

CA_FILE = "/usr/local/share/ca-certificates/matrixrtc-lab.crt"
SYNAPSE_UID = 991  # made in images/site.Dockerfile
NOGROUP_GID = 65534


@dataclass(frozen=True)
class HostFile:
    """A file for a host: absolute `path`, text, mode, numeric owner; with `link` a symbolic link instead."""

    path: str
    text: str = ""
    mode: int = 0o644
    uid: int = 0
    gid: int = 0
    link: str = ""


@dataclass(frozen=True)
class SynapseSecrets:
    """Secrets in homeserver.yaml, and the content of the signing key file: the server is not a new one."""

    registration: str
    macaroon: str
    form: str
    signing_key: str


def make_secrets() -> SynapseSecrets:
    """Fresh secrets, of the length Synapse's own generator uses."""
    seed = base64.b64encode(tokens.token_bytes(32)).decode().rstrip("=")
    return SynapseSecrets(
        registration=tokens.token_urlsafe(36),
        macaroon=tokens.token_urlsafe(36),
        form=tokens.token_urlsafe(36),
        signing_key=f"ed25519 a_lab {seed}\n",
    )


def operator_files(site: Site, image: Image, secrets: SynapseSecrets, ca: Authority) -> list[HostFile]:
    """Everything the operator has set up: web server, home page, firewall, homeserver, certificates."""
    text = {path.stem: _render(path.name, site, image, secrets) for path in TEMPLATES.glob("*.j2")}
    files = [
        HostFile("/etc/nginx/sites-available/operator.conf", text["operator.conf"]),
        HostFile("/etc/nginx/sites-enabled/operator.conf", link="/etc/nginx/sites-available/operator.conf"),
        HostFile(f"/var/www/{site.server_name}/index.html", text["index.html"]),
        HostFile("/etc/nftables.conf", text["nftables.conf"], mode=0o755),
        _synapse_file("homeserver.yaml", text["homeserver.yaml"]),
        _synapse_file("homeserver.signing.key", secrets.signing_key),
        HostFile("/etc/matrix-synapse/conf.d/server_name.yaml", text["server_name.yaml"]),
        HostFile("/etc/matrix-synapse/conf.d/report_stats.yaml", text["report_stats.yaml"]),
        ca_file(ca),
    ]
    if site.well_known == "file":
        files.append(
            HostFile(f"/var/www/{site.server_name}/.well-known/matrix/client", text["well-known-client.json"])
        )
    for name in site.names:
        pair = issue(ca, name)
        files.append(HostFile(certificate_path(name), pair.certificate))
        files.append(HostFile(key_path(name), pair.key, mode=0o600))
    return files


def _synapse_file(name: str, text: str) -> HostFile:
    """A file with secrets in it, for the homeserver's user alone."""
    return HostFile(f"/etc/matrix-synapse/{name}", text, mode=0o640, uid=SYNAPSE_UID, gid=NOGROUP_GID)


def ca_file(ca: Authority) -> HostFile:
    """The authority's certificate, where `update-ca-certificates` looks for local ones."""
    return HostFile(CA_FILE, ca.pem)


def certificate_path(name: str) -> str:
    """Where a host keeps the certificate (full chain) of one of its names."""
    return f"/etc/ssl/lab/{name}.crt"


def key_path(name: str) -> str:
    """Where a host keeps the private key of one of its names."""
    return f"/etc/ssl/lab/{name}.key"


def _render(template: str, site: Site, image: Image, secrets: SynapseSecrets) -> str:
    # these are configuration files, not HTML: nothing is to be escaped
    loader = jinja2.FileSystemLoader(TEMPLATES)
    environment = jinja2.Environment(
        loader=loader,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        keep_trailing_newline=True,
        autoescape=False,
    )
    return environment.get_template(template).render(site=site, image=image, secrets=secrets)


def archive(files: Iterable[HostFile]) -> bytes:
    """A tar archive that the engine unpacks at `/` of a host. Folders that exist keep owner and mode."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        for file in files:
            member = tarfile.TarInfo(file.path.lstrip("/"))
            member.mode, member.uid, member.gid = file.mode, file.uid, file.gid
            member.mtime = time.time()
            if file.link:
                member.type, member.linkname = tarfile.SYMTYPE, file.link
                tar.addfile(member)
                continue
            content = file.text.encode()
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))
    return buffer.getvalue()
