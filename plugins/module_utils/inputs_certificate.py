# Copyright (c) 2026 The matrixrtc.backend authors
# SPDX-License-Identifier: Apache-2.0
"""Checks of the certificate's role: where the certificate comes from, and who tells nginx of renewals."""

from __future__ import annotations

import os
import re

from .certificates import CertificateError, check_readable
from .inputs_release import check_http_proxy
from .inputs_report import Inputs
from .inputs_server import FILE_NAME, NGINX
from .inputs_site import Settings, absolute_path, busy_ports, check_settings, holders, is_refused
from .inputs_values import (
    PortRange,
    boolean,
    ip_literal,
    matching,
    one_of,
    shown,
    url,
)
from .sockets import Claim, occupied

MODES = ("files", "certbot", "acme_sh", "acme")
OWN_FILES = {
    "file": "/acme/live/matrixrtc/fullchain.pem",
    "private_key": "/acme/live/matrixrtc/privkey.pem",
}
HTTP = PortRange(80, 80)
EMAIL = matching(r"[A-Za-z0-9.!#$&'*+/=?^_{|}~-]+@[A-Za-z0-9-]+(\.[A-Za-z0-9-]+)+", "an e-mail address")
SETTINGS: Settings = {
    "service": (FILE_NAME, "Set it to the name of nginx's unit, such as nginx.", True),
    "site": (FILE_NAME, "Set it to a file name that sorts late, such as zz-matrixrtc-acme.", True),
    "email": (EMAIL, "Set it to an address such as admin@example.org, or leave it empty.", False),
}
# The certificate ------------------------------------------------------------------------------------------


def check_rtc_certificate(inputs: Inputs, _secret: str) -> None:
    """All inputs of the certificate's role. What is in the files is looked at with nginx's inputs."""
    mode = inputs.read("mode", one_of(MODES), f"Set it to {', '.join(MODES)}.")
    check_http_proxy(inputs)
    check_settings(inputs, SETTINGS)
    remedy = "Set it to a list of the host's addresses, or to [] for all of them."
    inputs.read_list("listen_addresses", ip_literal, remedy, required=False)
    if mode is None or mode == "files":
        return
    if inputs.values.get("proxy_mode", "nginx") != "nginx":
        inputs.refuse(
            "mode",
            f"{shown(mode)} is for an nginx on this host, and nginx_proxy_mode says that there is none",
            "Set it to files, and let the server on port 443 look after the certificate.",
        )
    elif mode == "acme":
        check_acme(inputs)
    else:
        check_client(inputs, mode)


def check_client(inputs: Inputs, mode: str) -> None:
    """The paths of a certificate that certbot or acme.sh keeps."""
    remedy = f"Set it to the file with the chain that {mode.replace('_', '.')} keeps for the RTC host name."
    path = inputs.read("file", absolute_path, remedy)
    if path and mode == "certbot" and not re.search(r"/live/[^/]+/[^/]+\Z", path):
        inputs.refuse(
            "file",
            f"{shown(path)} is not below the folder 'live' of certbot",
            "Leave it out, or set it to /etc/letsencrypt/live/NAME/fullchain.pem, with the NAME that "
            "`certbot certificates` tells.",
        )


def check_acme(inputs: Inputs) -> None:
    """What a certificate of our own takes: an authority, a word on its terms, and port 80."""
    for key, own in OWN_FILES.items():
        path = str(inputs.values.get(key) or "")
        if not path.endswith(own):
            inputs.refuse(
                key,
                f"{shown(path)} is not the file that matrixrtc_tls_mode acme makes",
                "Remove it, or set matrixrtc_tls_mode to files.",
            )
    inputs.read(
        "directory",
        lambda value: url(value, ("https",)),
        "Set it to the URL of the authority's ACME directory, or leave it out for Let's Encrypt.",
    )
    remedy = "Read the terms of the authority, and set it to true if you agree."
    if inputs.read("agree_terms", boolean, remedy) is False:
        inputs.refuse("agree_terms", "is false, and no authority gives certificates without it", remedy)
    _check_authority_file(inputs)
    inputs.read("certbot", absolute_path, "Set it to the program, such as /usr/bin/certbot.")
    _check_webroot(inputs)


def _check_authority_file(inputs: Inputs) -> None:
    remedy = "Set it to a PEM file of certificates on the host, or leave it empty to use the system's."
    path = inputs.read("directory_ca_file", absolute_path, remedy, required=False)
    try:
        check_readable(path, "CERTIFICATE") if path else None
    except CertificateError as error:
        inputs.refuse("directory_ca_file", str(error), remedy)


def _check_webroot(inputs: Inputs) -> None:
    """The operator's folder of challenges; without one, nginx has to hold port 80."""
    remedy = (
        "Set it to the folder that a site of yours shows http://DOMAIN/.well-known/acme-challenge/ from, or "
        "leave it empty."
    )
    path = inputs.read("webroot", absolute_path, remedy, required=False)
    if path and not os.path.isdir(path):
        inputs.refuse("webroot", f"{shown(path)} is not a folder on this host", remedy)
    if inputs.has("webroot") or is_refused(inputs, "listen_addresses"):
        return
    claim = Claim("tcp", HTTP, tuple(str(address) for address in inputs.values.get("listen_addresses") or ()))
    held = busy_ports(inputs, [claim], NGINX)
    if held and len(held) == len(occupied([claim], inputs.process_folder)):
        inputs.refuse(
            "mode",
            f"80/tcp, where nginx is to show the challenges of 'acme', is held by {holders(held[0])}",
            "Let that program show a folder of challenges and set matrixrtc_acme_webroot to it, or set "
            "matrixrtc_tls_mode to files.",
        )
