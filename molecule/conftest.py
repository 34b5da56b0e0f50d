"""Fixtures of the scenarios' tests."""

from __future__ import annotations

import pytest
import steps
from testinfra.host import Host


@pytest.fixture
def rtc() -> Host:
    """The host of the SFU. testinfra's own `host` changes the order of tests, and removal has to be last."""
    (host,) = steps.hosts("matrixrtc_rtc")
    return host


@pytest.fixture(scope="module")
def client() -> Host:
    """The host from which calls are placed, and the site is seen from outside."""
    (host,) = steps.hosts("lab_client")
    return host
