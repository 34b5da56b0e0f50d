# Copyright (c) 2026 The matrixrtc.backend authors
# SPDX-License-Identifier: Apache-2.0
"""The options by which modules that call over one site's SFU are told of it."""

from __future__ import annotations


class ModuleDocFragment:
    """Found by ansible-doc under the name matrixrtc.backend.called_site."""

    DOCUMENTATION = r"""
options:
  server_name:
    description: The part after the colon in the site's Matrix IDs.
    type: str
    required: true
  domain:
    description: The host name of the SFU.
    type: str
    required: true
  livekit_service_url:
    description: The URL of the token service.
    type: str
    required: true
  ca_file:
    description: A private certificate authority to trust.
    type: path
    default: ""
"""
