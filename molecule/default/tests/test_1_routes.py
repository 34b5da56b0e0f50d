"""What a stranger's request is answered: the routes of the table in docs, and nothing else."""

from __future__ import annotations

import pytest
from route_table import TOKEN_ROUTES, UPGRADE, wrong_routes

testinfra_hosts = ["ansible://client"]

OPTIONS = {
    "GET": "",
    "OPTIONS": "-X OPTIONS",
    "POST": "-H 'Content-Type: application/json' -d '{}'",
    "UPGRADE": "--http1.1 " + " ".join(f"-H '{name}: {value}'" for name, value in UPGRADE.items()),
}


@pytest.mark.parametrize("site", ["d13.test", "d12.test"])
def test_routes_from_outside(host, site):
    def status(method, path):
        url = f"https://rtc.{site}{path}"
        command = f"curl -s -m 10 -o /dev/null -w '%{{http_code}}' --path-as-is {OPTIONS[method]} '{url}'"
        return int(host.check_output(command))

    wrong = wrong_routes(status)
    assert not wrong, f"{site}:\n" + "\n".join(wrong)


@pytest.mark.parametrize("site", ["d13.test", "d12.test"])
@pytest.mark.parametrize("path", TOKEN_ROUTES)
def test_browsers_get_one_cors_header(host, site, path):
    headers = host.check_output(f"curl -s -o /dev/null -D - -X POST -d '{{}}' https://rtc.{site}{path}")
    assert headers.lower().count("access-control-allow-origin:") == 1, headers


@pytest.mark.parametrize("site", ["d13.test", "d12.test"])
def test_internal_ports_do_not_answer(host, site):
    for port in (7880, 8080, 8008):
        assert host.run(f"curl -s -o /dev/null -m 2 http://rtc.{site}:{port}/").rc != 0, port
