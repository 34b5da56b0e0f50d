"""The site among an operator's own, in every situation, against the nginx of each distribution."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[3]
sys.path[:0] = [str(ROOT / "molecule" / "shared"), str(ROOT / "tests" / "unit")]

from on_host import program, put  # noqa: E402
from role_rendering import Role  # noqa: E402

testinfra_hosts = ["ansible://matrixrtc_rtc"]

FILES = {
    "nginx_proxy_certificate": "@folder@/x.crt",
    "nginx_proxy_private_key": "@folder@/x.key",
    "nginx_proxy_access_log": "@folder@/matrixrtc.log",
    "nginx_proxy_error_log": "@folder@/error.log",
}
# The proxies and what they need, unpacked beside the host's own files: nothing of the host changes.
FETCH = """
set -e
cd {folder}
mkdir -p archives/partial root
apt-get update -qq
apt-get install -qq --download-only --no-install-recommends -o Dir::Cache::archives=$PWD/archives \\
    caddy haproxy
for package in archives/*.deb; do dpkg -x $package root; done
"""


@pytest.fixture
def folder(host):
    """A folder on the host, gone afterwards."""
    path = host.check_output("mktemp -d /tmp/nginx.XXXXXX")
    yield path
    host.check_output(f"rm -rf {path}")


def test_every_situation(host, folder):
    put(host, f"{folder}/run", program("nginx_situations.py"))
    put(host, f"{folder}/site", Role("nginx_proxy", **FILES).file("site.conf.j2").encode())
    ran = host.run(f"python3 {folder}/run {folder}/work < {folder}/site")
    assert ran.stdout.startswith("{"), ran.stderr
    result = json.loads(ran.stdout)
    assert len(result["situations"]) >= 14
    assert sum(situation["requests"] for situation in result["situations"]) > 1000
    problems = {one["name"]: one["problems"] for one in result["situations"] if one["problems"]}
    assert not problems, json.dumps({result["nginx"]: problems}, indent=1)


def test_snippets_in_the_real_proxies(host, folder):
    limits = {"nginx_proxy_sfu_timeout": 2, "nginx_proxy_token_rate": 2, "nginx_proxy_token_burst": 20}
    role = Role("nginx_proxy", **FILES, **limits, inventory_dir="/", ansible_facts={})
    snippets = {"caddy": role.file("Caddyfile.j2"), "haproxy": role.file("haproxy.cfg.j2")}
    put(host, f"{folder}/run", program("proxy_snippets.py", "route_table.py"))
    put(host, f"{folder}/snippets", json.dumps(snippets).encode())
    host.check_output(FETCH.format(folder=folder))
    libraries = host.check_output(f"find {folder}/root -name '*.so.*' -printf '%h\\n' | sort -u").split()
    paths = f"PATH=$PATH:{folder}/root/usr/bin:{folder}/root/usr/sbin LD_LIBRARY_PATH={':'.join(libraries)}"
    ran = host.run(f"HOME={folder} {paths} python3 {folder}/run {folder}/work < {folder}/snippets")
    assert ran.stdout.startswith("{"), ran.stderr
    result = json.loads(ran.stdout)
    assert not any(one["problems"] for one in result.values()), json.dumps(result, indent=1)
    assert set(result) == set(snippets)
