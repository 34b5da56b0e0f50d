# Copyright (c) 2026 The matrixrtc.backend authors
# SPDX-License-Identifier: Apache-2.0
"""What is wrong with a component's inputs: all of it, before anything changes."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from .inputs_certificate import check_rtc_certificate
from .inputs_cluster import check_cluster, check_livekit_redis
from .inputs_element_call import check_element_call
from .inputs_federation import check_federation
from .inputs_livekit import check_livekit
from .inputs_load_test import check_load_test
from .inputs_report import Inputs
from .inputs_rotation import check_rotation
from .inputs_server import check_firewall, check_nginx, check_synapse, check_well_known
from .inputs_site import check_site
from .inputs_stuck_calls import check_stuck_calls
from .inputs_token_service import check_token_service
from .inputs_verify import check_verify

CHECKS: Mapping[str, Callable[[Inputs, str], None]] = {
    "livekit": check_livekit,
    "livekit_redis": check_livekit_redis,
    "matrixrtc_cluster": check_cluster,
    "lk_jwt_service": check_token_service,
    "rtc_certificate": check_rtc_certificate,
    "nginx_proxy": check_nginx,
    "firewall": check_firewall,
    "synapse_config": check_synapse,
    "well_known": check_well_known,
    "element_call": check_element_call,
    "matrixrtc_stuck": check_stuck_calls,
    "matrixrtc_load": check_load_test,
    "matrixrtc_rotation": check_rotation,
    "matrixrtc_federation": check_federation,
    "matrixrtc_verify": check_verify,
}


def check_inputs(
    component: str,
    values: Mapping[str, Any],
    secret: str = "",
    versions: Mapping[str, Any] | None = None,
    allow_untested: bool = False,
    process_folder: str = "/proc",
) -> Inputs:
    """Check all inputs of a component; the problems and warnings are in what is returned.

    `values`: raw values by name; an absent one is not checked, an empty one is missing. `versions`: tested,
    untested (lists of text), bad (list of {version, reason}), minimum and minimum_reason.
    Raises KeyError for an unknown component.
    """
    inputs = Inputs(component, values, versions or {}, allow_untested, process_folder)
    check_site(inputs)
    CHECKS[component](inputs, secret)
    return inputs
