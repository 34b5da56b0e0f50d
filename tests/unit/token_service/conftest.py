"""One homeserver `site.test`, one SFU and the stand-in between them, all on loopback."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import httpcore
import pytest

from lab.certificates import authority, issue
from tests.unit.token_service.fakes import KEY, SECRET, FakeServer, Homeserver, Network, RunningService

Starter = Callable[..., RunningService]
ServerMaker = Callable[[str], FakeServer]


@pytest.fixture(scope="session")
def ca_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("ca")
    authority(folder, "token-service-tests")
    return folder


@pytest.fixture(scope="session")
def certificate(ca_folder: Path) -> Callable[[str], Path]:
    """The file with certificate and key of a host name, made once."""

    def made(name: str) -> Path:
        path = ca_folder / f"{name}.pem"
        if not path.exists():
            pair = issue(authority(ca_folder, "token-service-tests"), name)
            path.write_text(pair.certificate + pair.key)
        return path

    return made


@pytest.fixture
def network(monkeypatch: pytest.MonkeyPatch) -> Network:
    network = Network()

    async def connect(backend: httpcore.AnyIOBackend, host: str, port: int, **more: Any) -> Any:
        return await network.connect(backend, host, port, **more)

    monkeypatch.setattr(httpcore.AnyIOBackend, "connect_tcp", connect)
    return network


@pytest.fixture
def https_server(certificate: Callable[[str], Path]) -> Iterator[ServerMaker]:
    """Make TLS servers with a certificate for the given name."""
    with ExitStack() as stack:

        def made(name: str) -> FakeServer:
            server = FakeServer(certificate(name))
            stack.callback(server.close)
            return server

        yield made


@pytest.fixture
def homeserver(network: Network, https_server: ServerMaker) -> Homeserver:
    return Homeserver(network, "site.test", https_server("site.test"), https_server("matrix.site.test"))


@pytest.fixture
def sfu() -> Iterator[FakeServer]:
    """An SFU behind the prefix /livekit/sfu, in which nobody is."""
    server = FakeServer()
    server.on("/livekit/sfu/twirp/livekit.RoomService/CreateRoom", {"sid": "RM_1"})
    yield server
    server.close()


@pytest.fixture
def environ(ca_folder: Path, sfu: FakeServer) -> dict[str, str]:
    return {
        "LIVEKIT_URL": f"ws://127.0.0.1:{sfu.port}/livekit/sfu",
        "LIVEKIT_KEY": KEY,
        "LIVEKIT_SECRET": SECRET,
        "LIVEKIT_FULL_ACCESS_HOMESERVERS": "site.test",
        "SSL_CERT_FILE": str(ca_folder / "ca.crt"),
    }


@pytest.fixture
def start(network: Network, environ: dict[str, str]) -> Iterator[Starter]:
    """Start the stand-in with other variables (environ=...) or other fixed times."""
    with ExitStack() as stack:

        def started(changes: dict[str, str] | None = None, **fixed: Any) -> RunningService:
            service = RunningService({**environ, **(changes or {})}, **fixed)
            stack.callback(service.stop)
            return service

        yield started


@pytest.fixture
def service(start: Starter) -> RunningService:
    return start()
