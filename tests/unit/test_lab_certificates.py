# Copyright (c) 2026 The matrixrtc.backend authors
# SPDX-License-Identifier: Apache-2.0
"""The lab's certificate authority and the certificates of its hosts."""

from __future__ import annotations

import datetime
import stat
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.x509.verification import PolicyBuilder, Store, VerificationError

from lab import certificates

NOW = datetime.datetime(2026, 11, 20, tzinfo=datetime.UTC)


def verify(
    ca: certificates.Authority, pair: certificates.KeyPair, name: str, moment: datetime.datetime
) -> None:
    """Verify the way a TLS client does."""
    chain = x509.load_pem_x509_certificates(pair.certificate.encode())
    policy = PolicyBuilder().store(Store([ca.certificate])).time(moment)
    policy.build_server_verifier(x509.DNSName(name)).verify(chain[0], chain[1:])


def test_a_certificate_is_for_exactly_its_name(tmp_path: Path) -> None:
    ca = certificates.authority(tmp_path, "demo", NOW)
    pair = certificates.issue(ca, "rtc.lab.test", NOW)
    verify(ca, pair, "rtc.lab.test", NOW)
    for other in ("lab.test", "matrix.lab.test", "a.rtc.lab.test"):
        with pytest.raises(VerificationError):
            verify(ca, pair, other, NOW)
    names = (
        x509.load_pem_x509_certificate(pair.certificate.encode())
        .extensions.get_extension_for_class(x509.SubjectAlternativeName)
        .value
    )
    assert names.get_values_for_type(x509.DNSName) == ["rtc.lab.test"]


def test_it_ends(tmp_path: Path) -> None:
    ca = certificates.authority(tmp_path, "demo", NOW)
    pair = certificates.issue(ca, "lab.test", NOW)
    verify(ca, pair, "lab.test", NOW + datetime.timedelta(days=364))
    with pytest.raises(VerificationError):
        verify(ca, pair, "lab.test", NOW + datetime.timedelta(days=366))
    old = certificates.issue(ca, "lab.test", NOW, datetime.timedelta(minutes=-30))
    with pytest.raises(VerificationError):
        verify(ca, old, "lab.test", NOW)


def test_the_authority_is_kept_and_its_key_is_private(tmp_path: Path) -> None:
    first = certificates.authority(tmp_path, "demo", NOW)
    again = certificates.authority(tmp_path, "demo", NOW + datetime.timedelta(days=300))
    assert again.certificate == first.certificate
    again.certificate.verify_directly_issued_by(first.certificate)
    assert stat.S_IMODE((tmp_path / "ca.key").stat().st_mode) == 0o600


def test_the_authority_is_made_anew_before_it_ends(tmp_path: Path) -> None:
    first = certificates.authority(tmp_path, "demo", NOW)
    later = certificates.authority(tmp_path, "demo", NOW + datetime.timedelta(days=340))
    assert later.certificate != first.certificate


def test_another_lab_is_not_trusted(tmp_path: Path) -> None:
    ours = certificates.authority(tmp_path / "a", "a", NOW)
    theirs = certificates.authority(tmp_path / "b", "a", NOW)
    with pytest.raises(VerificationError):
        verify(ours, certificates.issue(theirs, "lab.test", NOW), "lab.test", NOW)
    with pytest.raises((InvalidSignature, ValueError)):
        theirs.certificate.verify_directly_issued_by(ours.certificate)
