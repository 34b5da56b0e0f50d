# Copyright (c) 2026 The matrixrtc.backend authors
# SPDX-License-Identifier: Apache-2.0
"""What an operator's server looks like before this collection touches it: the files of one host."""

from __future__ import annotations

import base64
import io
import secrets as tokens
import tarfile
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from .certificates import Authority, issue
from .definitions import Host, Image, Site
from .operators import HostFile

CA_FILE = "/usr/local/share/ca-certificates/matrixrtc-lab.crt"


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


def host_files(
    site: Site,
    host: Host,
    image: Image,
    secrets: SynapseSecrets,
    ca: Authority,
    addresses: Mapping[str, str],
) -> list[HostFile]:
    """Everything the operator has set up on a host, and the lab's certificates.

    addresses: of every host of the lab, for rules of its firewall.
    """
    files = host.operator.files(site=site, host=host, image=image, secrets=secrets, addresses=addresses)
    files.append(ca_file(ca))
    for name in (*site.names(host), *site.second_names(host)):
        pair = issue(ca, name)
        files.append(HostFile(certificate_path(name), pair.certificate))
        files.append(HostFile(key_path(name), pair.key, mode=0o600))
    return files


def ca_file(ca: Authority) -> HostFile:
    """The authority's certificate, where `update-ca-certificates` looks for local ones."""
    return HostFile(CA_FILE, ca.pem)


def certificate_path(name: str) -> str:
    """Where a host keeps the certificate (full chain) of one of its names."""
    return f"/etc/ssl/lab/{name}.crt"


def key_path(name: str) -> str:
    """Where a host keeps the private key of one of its names."""
    return f"/etc/ssl/lab/{name}.key"


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
