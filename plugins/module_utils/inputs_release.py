# Copyright (c) 2026 The matrixrtc.backend authors
# SPDX-License-Identifier: Apache-2.0
"""Checks of the way to releases: a proxy, or a folder on the controller with all that a component needs."""

from __future__ import annotations

import re

from .inputs_report import Inputs
from .inputs_values import InvalidValueError, plain_text, port, shown

PROXY_REMEDY = (
    "Set it to http://, perhaps a user, colon, password and @ (percent-encoded), and the proxy's host and "
    "port, such as http://proxy.example.org:3128, or leave it empty."
)


def proxy_address(value: object) -> str:
    """The URL of an HTTP proxy, with or without user and password. No message shows those."""
    text = plain_text(value)
    found = re.fullmatch(r"(?P<scheme>[a-z0-9+.-]+)://(?P<place>.*)", text, re.DOTALL)
    if not found or found["scheme"] != "http":
        raise InvalidValueError("does not start with http://")
    credentials, _at, place = found["place"].rstrip("/").rpartition("@")
    if not re.fullmatch(r"[A-Za-z0-9._~!$&'()*+,;=%-]+(:[A-Za-z0-9._~!$&'()*+,;=%-]*)?|", credentials):
        raise InvalidValueError("has a user or password that is not percent-encoded")
    host, number = re.fullmatch(r"(.*?)(?::([0-9]+))?", place, re.DOTALL).groups()  # type: ignore[union-attr]
    if number:
        port(number)
    if not re.fullmatch(r"[A-Za-z0-9.-]+|\[[0-9A-Fa-f:]+\]", host):
        raise InvalidValueError(f"{shown(host)} in it is not a host name or address")
    return text


def check_http_proxy(inputs: Inputs) -> None:
    """The proxy on the way to releases and to the authority."""
    inputs.read("http_proxy", proxy_address, PROXY_REMEDY, required=False)


def check_release(inputs: Inputs) -> None:
    """The way to a component's release: a proxy, or a folder on the controller with all that is needed."""
    check_http_proxy(inputs)
    artifact = inputs.values.get("artifact")
    folder = inputs.values.get("artifact_folder")
    if not folder:
        return
    if not str(folder).startswith("/"):
        inputs.refuse(
            "artifact_folder",
            f"{shown(folder)} is not an absolute path on the controller",
            "Set it to the whole path of the folder with the releases, or leave it empty to download them.",
        )
        return
    if not isinstance(artifact, dict) or "asset" not in artifact:
        return
    asset = str(artifact["asset"])
    listed = re.search(rf"^[0-9A-Fa-f]{{64}} [ *]?(\./)?{re.escape(asset)}\s*$", artifact["checksums"], re.M)
    missing = [str(name) for name in artifact["missing"]]
    if missing:
        fault = f"{shown(folder)} on the controller lacks {' and '.join(missing)}"
    elif inputs.has("sha256") or listed or artifact.get("contents"):
        return
    else:
        fault = f"checksums.txt in {shown(folder)} on the controller has no line for {asset}"
    inputs.refuse("artifact_folder", fault, _instructions(inputs, artifact, asset))


def _instructions(inputs: Inputs, artifact: dict[str, object], asset: str) -> str:
    """Where to get a release from, and what tells that it is the right one."""
    address, checksum = artifact["address"], inputs.name("sha256")
    if inputs.has("sha256"):
        expected = f"its sha256 has to be {str(inputs.values['sha256']).lower()}, as {checksum} says."
    elif artifact.get("contents"):
        expected = (
            f"the checksums of the files in it are in {address}{artifact['contents']}: put that there too."
        )
    elif artifact["lists_checksums"]:
        expected = (
            f"its sha256 has to be the one in the release's {address}checksums.txt: put that file there as "
            f"well, with the lines of other components, or set {checksum}."
        )
    else:
        page = str(address).rstrip("/").replace("/releases/download/", "/releases/tag/")
        expected = (
            f"its sha256 is shown beside it on {page}: set {checksum} to it, or put the line "
            f"'SHA256  {asset}' into checksums.txt, where the lines of other components are as well."
        )
    return f"Download {address}{asset} and put it there under that name; {expected}"
