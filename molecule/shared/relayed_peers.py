"""Ask the SFU's TURN relay to send to peers, as a participant of a call; print what it says of each.

Runs on the lab's client. Reads {"server_name", "domain", "token", "ca", "relay": [address, port], "peers"}
from the file that is its argument.
"""

from __future__ import annotations

import asyncio
import json
import sys

from aioice import stun, turn
from ansible_collections.matrixrtc.backend.plugins.module_utils.call_relay import RelayPlan, admitted
from ansible_collections.matrixrtc.backend.plugins.module_utils.call_signal import (
    JOIN_ICE_SERVERS,
    Listener,
    fields_of,
    texts,
)
from ansible_collections.matrixrtc.backend.plugins.module_utils.endpoint_site import Site
from ansible_collections.matrixrtc.backend.plugins.module_utils.http_client import HttpClient

USERNAME, CREDENTIAL = 2, 3  # fields of ICEServer (livekit_rtc.proto)


class Relays(Listener):
    """The listener, which also keeps the credentials for relays; the collection has no use for those."""

    def _joined(self, data: bytes) -> None:
        super()._joined(data)
        servers = [
            value
            for number, value in fields_of(data)
            if number == JOIN_ICE_SERVERS and isinstance(value, bytes)
        ]
        self.credentials = [(texts(one, USERNAME), texts(one, CREDENTIAL)) for one in servers]


def credentials(site: Site, token: str) -> tuple[str, str]:
    """What the SFU gives a participant for its relay."""
    _account, access = admitted(RelayPlan(site, (token, token)))[0]
    listener = Relays(site.http, access.url, access.jwt, 4.0)
    try:
        listener.listen()
    finally:
        listener.close()
    return next((user[0], word[0]) for user, word in listener.credentials if user and word)


async def ask(relay: tuple[str, int], user: str, password: str, peers: list[str]) -> dict[str, str]:
    """For each peer 'relayed' or the relay's refusal."""

    def client() -> turn.TurnClientUdpProtocol:
        return turn.TurnClientUdpProtocol(
            relay, username=user, password=password, lifetime=600, channel_refresh_time=500
        )

    transport, protocol = await asyncio.get_running_loop().create_datagram_endpoint(client, remote_addr=relay)
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
    user, password = credentials(site, given["token"])
    print(
        json.dumps(asyncio.run(ask((given["relay"][0], given["relay"][1]), user, password, given["peers"])))
    )


if __name__ == "__main__":
    main()
