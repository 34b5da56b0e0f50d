"""One thing broken at a time: verify.yml names it, and site.yml repairs it.

The faults are made on the Debian 13 site; the call over the other site is not placed meanwhile.
"""

from __future__ import annotations

from dataclasses import dataclass

import pytest
from lab_playbooks import play

SITE = "d13"
testinfra_hosts = [f"ansible://{SITE}"]

ONLY_SITE = ("--limit", f"{SITE},client,localhost")

EMPTY_TRANSPORTS = r"""
file=$(grep -l '^matrix_rtc:' /etc/matrix-synapse/homeserver.yaml /etc/matrix-synapse/conf.d/*.yaml)
python3 - "$file" <<'END'
import pathlib, re, sys
path = pathlib.Path(sys.argv[1])
text = path.read_text()
path.write_text(re.sub(r"(?m)^matrix_rtc:\n(?:[ #].*\n|\n)*", "matrix_rtc:\n  transports: []\n", text))
END
systemctl restart matrix-synapse
"""
REMOVE_UDP_RULE = r"""
set -e
nft -a list chain inet filter matrixrtc | grep udp | sed 's/.*# handle //' | while read handle; do
    nft delete rule inet filter matrixrtc handle "$handle"
done
! nft list chain inet filter matrixrtc | grep -q udp
"""
ALTER_SECRET = r"""
set -e
file=/etc/matrixrtc/lk-jwt-service/secret
first=$(head -c 1 $file)
[ "$first" = x ] && other=y || other=x
sed -i "1s/^./$other/" $file
systemctl restart lk-jwt-service
"""


@dataclass(frozen=True)
class Fault:
    """How to break it, the check that has to fail, and words of its cause and of its fix."""

    script: str
    check: str
    cause: str
    fix: str


FAULTS = {
    "livekit_stopped": Fault(
        "systemctl stop livekit", "host_services", "LiveKit is not running", "systemctl start livekit"
    ),
    "secret_altered": Fault(ALTER_SECRET, "host_credentials", "is not the same", "run site.yml"),
    "udp_rule_removed": Fault(REMOVE_UDP_RULE, "host_firewall", "rule that opens UDP", "role firewall"),
    "transports_emptied": Fault(EMPTY_TRANSPORTS, "transports", "MISSING_MATRIX_RTC_TRANSPORT", "transports"),
}


@pytest.fixture(params=list(FAULTS))
def fault(request, host):
    """A fault, made now, and repaired by site.yml whatever the test finds."""
    chosen = FAULTS[request.param]
    host.run_expect([0], chosen.script)
    yield chosen
    play("site", *ONLY_SITE).ok()


def test_verify_names_the_fault_and_site_repairs_it(fault):
    broken = play("verify", *ONLY_SITE)
    assert broken.status != 0, broken.output
    words = " ".join(broken.output.split())
    assert f"FAIL {fault.check}" in words, broken.output
    assert fault.cause in words, broken.output
    assert fault.fix in words, broken.output

    assert play("site", *ONLY_SITE).ok().changed > 0
    play("verify", *ONLY_SITE).ok()
