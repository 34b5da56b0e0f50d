"""Ask the SFU's TURN relay to send to peers, as a participant of a call; print what it says of each.

Runs on the lab's client. Reads {"server_name", "domain", "token", "ca", "relay": [host, port, udp or tls],
"peers"} from the file that is its argument.
"""

from __future__ import annotations

import asyncio
import json
import sys
from typing import Any

from aioice import stun, turn
from ansible_collections.matrixrtc.backend.plugins.module_utils.call_relay import (
    RelayPlan,
    admitted,
    offered,
)
from ansible_collections.matrixrtc.backend.plugins.module_utils.endpoint_site import Site
from ansible_collections.matrixrtc.backend.plugins.module_utils.http_client import HttpClient


def credentials(site: Site, token: str, kind: str, port: int) -> tuple[str, str]:
    """What the SFU gives a participant for its relay."""
    plan = RelayPlan(site, (token, token), relay=kind, port=port, timeout=4.0)
    _account, access = admitted(plan)[0]
    relay = offered(plan, access)[0]
    return relay.username, relay.credential


async def ask(site: Site, relay: tuple[str, int, str], token: str, peers: list[str]) -> dict[str, str]:
    """For each peer 'relayed' or the relay's refusal."""
    host, port, kind = relay
    user, password = credentials(site, token, kind, port)
    protocols: dict[str, Any] = {"udp": turn.TurnClientUdpProtocol, "tls": turn.TurnClientTcpProtocol}

    def client() -> Any:
        return protocols[kind](
            (host, port), username=user, password=password, lifetime=600, channel_refresh_time=500
        )

    loop = asyncio.get_running_loop()
    transport, protocol = await (
        loop.create_datagram_endpoint(client, remote_addr=(host, port))
        if kind == "udp"
        else loop.create_connection(client, host, port, ssl=site.http.tls)
    )
    await protocol.connect()
    said = {}
    for number, peer in enumerate(peers):
        try:
            await protocol.channel_bind(0x4001 + number, (peer, 9))
            said[peer] = "relayed"
        except stun.TransactionFailed as error:
            said[peer] = f"refused: {error.response.attributes['ERROR-CODE'][0]}"
        except stun.TransactionTimeout:
            said[peer] = "no answer"
    transport.close()
    return said


def main() -> None:
    with open(sys.argv[1], encoding="utf-8") as source:
        given = json.load(source)
    service = f"https://{given['domain']}/livekit/jwt"
    site = Site(given["server_name"], given["domain"], service, "", HttpClient(given["ca"]))
    print(json.dumps(asyncio.run(ask(site, tuple(given["relay"]), given["token"], given["peers"]))))


if __name__ == "__main__":
    main()
