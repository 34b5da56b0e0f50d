"""What a stranger's request is answered: the routes of the table in docs, and nothing else."""

from __future__ import annotations

import pytest

testinfra_hosts = ["ansible://client"]

JWT, SFU = "/livekit/jwt", "/livekit/sfu"
TOKEN_ROUTES = [f"{JWT}{path}" for path in ("/sfu/get", "/get_token", "/delegate_delayed_leave")]
ROUTES = [
    *[
        (method, path, code)
        for path in TOKEN_ROUTES
        for method, code in (("GET", 405), ("OPTIONS", 200), ("POST", 400))
    ],
    ("GET", f"{JWT}/healthz", 200),
    *[("GET", f"{SFU}{path}", 401) for path in ("/rtc/validate", "/rtc/v1/validate")],
    *[("UPGRADE", f"{SFU}{path}", 401) for path in ("/rtc", "/rtc/v1")],
    *[
        ("GET", path, 404)
        for path in (
            "/",
            f"{JWT}/",
            f"{JWT}/sfu_webhook",
            f"{JWT}/sfu/getX",
            f"{JWT}/_matrix/app/v1/ping",
            f"{SFU}/",
            f"{SFU}/metrics",
            f"{SFU}/debug/pprof/",
            f"{SFU}/agent",
            f"{SFU}/whip/v1",
            f"{SFU}/rtc/../metrics",
            "/metrics",
            "/healthz",
            "/_matrix/client/versions",
        )
    ],
    *[
        ("POST", path, 403)
        for path in (
            "/twirp/livekit.RoomService/ListRooms",
            f"{SFU}/twirp/livekit.RoomService/ListRooms",
            f"{SFU}//twirp/livekit.RoomService/ListRooms",
            f"{SFU}/%74wirp/livekit.RoomService/ListRooms",
            f"{SFU}/x/../twirp/livekit.RoomService/ListRooms",
        )
    ],
]


UPGRADE = (
    "Connection: Upgrade",
    "Upgrade: websocket",
    "Sec-WebSocket-Version: 13",
    "Sec-WebSocket-Key: bWF0cml4cnRjLWxhYi10ZQ==",
)
OPTIONS = {
    "GET": "",
    "OPTIONS": "-X OPTIONS",
    "POST": "-H 'Content-Type: application/json' -d '{}'",
    "UPGRADE": "--http1.1 " + " ".join(f"-H '{header}'" for header in UPGRADE),
}


@pytest.mark.parametrize("site", ["d13.test", "d12.test"])
def test_routes_from_outside(host, site):
    wrong = []
    for method, path, wanted in ROUTES:
        url = f"https://rtc.{site}{path}"
        seen = host.check_output(
            f"curl -s -m 10 -o /dev/null -w '%{{http_code}}' --path-as-is {OPTIONS[method]} '{url}'"
        )
        if int(seen) != wanted:
            wrong.append(f"{method} {url}: {seen} instead of {wanted}")
    assert not wrong, "\n".join(wrong)


@pytest.mark.parametrize("site", ["d13.test", "d12.test"])
@pytest.mark.parametrize("path", TOKEN_ROUTES)
def test_browsers_get_one_cors_header(host, site, path):
    headers = host.check_output(f"curl -s -o /dev/null -D - -X POST -d '{{}}' https://rtc.{site}{path}")
    assert headers.lower().count("access-control-allow-origin:") == 1, headers


@pytest.mark.parametrize("site", ["d13.test", "d12.test"])
def test_internal_ports_do_not_answer(host, site):
    for port in (7880, 8080, 8008):
        assert host.run(f"curl -s -o /dev/null -m 2 http://rtc.{site}:{port}/").rc != 0, port
