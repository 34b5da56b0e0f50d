"""An nginx that is not there: it reads real files, loads them on reload, and answers from what it loaded."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from ansible_collections.matrixrtc.backend.plugins.module_utils.edge_host import COMMAND_NOT_FOUND, Completed
from ansible_collections.matrixrtc.backend.plugins.module_utils.nginx_checks import Probe
from ansible_collections.matrixrtc.backend.plugins.module_utils.nginx_config import (
    Server,
    default_server,
    read_dump,
    servers,
)
from ansible_collections.matrixrtc.backend.plugins.module_utils.nginx_host import Host, effective
from ansible_collections.matrixrtc.backend.plugins.module_utils.nginx_probe import Answer, Request
from ansible_collections.matrixrtc.backend.plugins.module_utils.nginx_site import Wish

REVISION_PATH = "/.revision"
NAME = "rtc.example.org"
CONTENT = """\
server {
    @ipv4@ listen 443 ssl;
    @ipv6@ listen [::]:443 ssl;
    @http2@ http2 on;
    server_name rtc.example.org;
    ssl_protocols TLSv1.2 TLSv1.3;
    location = /.revision { return 200 "@revision@"; }
    location / { return 404; }
}
"""
MAIN = """\
error_log {folder}/error.log;
pid {folder}/nginx.pid;
worker_processes 2;
events {{ worker_connections 100; }}
http {{
    ssl_protocols TLSv1.2 TLSv1.3;
    include {folder}/{sites};
}}
"""
OPERATOR = """\
server {
    listen 443 ssl;
    listen [::]:443 ssl;
    server_name example.org www.example.org;
}
"""


class KilledError(BaseException):
    """The process ends here, without any clean-up of its own."""


@dataclass
class FakeNginx:
    """A host with an nginx whose sites answer 200, and ours what `own` says (else 404).

    `refusal`: what the master process writes into its error log instead of loading. `kill_at`: the number of
    the call at which the process is killed.
    """

    folder: Path
    version: str = "1.26.3"
    openssl: str = "3.5.1"
    sites: str = "sites-enabled/*"
    is_installed: bool = True
    is_active: bool = True
    refusal: str = ""
    foreign: dict[str, int] = field(default_factory=dict)
    own: dict[str, Answer] = field(default_factory=dict)
    worse_with_ours: dict[str, int] = field(default_factory=dict)
    kill_at: int = 0
    calls: int = 0
    reloads: int = 0
    commands: list[list[str]] = field(default_factory=list)
    requests: list[Request] = field(default_factory=list)
    loaded: dict[str, str] = field(default_factory=dict)
    time: float = 0.0

    def __post_init__(self) -> None:
        for name in ("sites-available", "sites-enabled", "conf.d"):
            (self.folder / name).mkdir(parents=True)
        self.main.write_text(MAIN.format(folder=self.folder, sites=self.sites))
        (self.folder / "error.log").write_text("an old line\n")
        self.enabled("operator.conf").write_text(OPERATOR)
        self.load()

    @property
    def main(self) -> Path:
        return self.folder / "nginx.conf"

    def enabled(self, name: str) -> Path:
        return self.folder / self.sites.replace("*.conf", "*").replace("*", name)

    @property
    def site(self) -> Path:
        folder = "sites-available" if "sites" in self.sites else "conf.d"
        return self.folder / folder / "zz-matrixrtc.conf"

    @property
    def link(self) -> Path:
        return self.folder / "sites-enabled" / "zz-matrixrtc.conf"

    def on_disk(self) -> dict[str, str]:
        files = sorted(self.enabled("x").parent.iterdir())
        return {str(path): path.read_text() for path in (self.main, *files) if not path.name.startswith(".")}

    def load(self) -> None:
        self.loaded = self.on_disk()

    def dump(self, files: dict[str, str]) -> str:
        return "".join(f"# configuration file {path}:\n{text}\n" for path, text in files.items())

    def alive(self) -> None:
        self.calls += 1
        if self.calls == self.kill_at:
            raise KilledError

    def run(self, argv: Sequence[str]) -> Completed:
        self.alive()
        self.commands.append(list(argv))
        if argv[0] == "nginx" and not self.is_installed:
            return Completed(COMMAND_NOT_FOUND, errors="nginx is not installed")
        if list(argv) == ["nginx", "-V"]:
            about = f"nginx version: nginx/{self.version}\nbuilt with OpenSSL {self.openssl} 1 Jul 2025\n"
            return Completed(0, errors=f"{about}configure arguments: --conf-path={self.main} --x")
        if list(argv) == ["nginx", "-T"]:
            return self.test()
        if argv[:2] == ["systemctl", "is-active"]:
            return Completed(0 if self.is_active else 3)
        if argv[:2] == ["systemctl", "reload"]:
            return self.reload()
        raise AssertionError(argv)

    def test(self) -> Completed:
        for path, text in self.on_disk().items():
            for number, line in enumerate(text.splitlines(), start=1):
                if "bogus" in line:
                    return Completed(
                        1, errors=f'nginx: [emerg] unknown directive "bogus" in {path}:{number}\n'
                    )
        return Completed(0, self.dump(self.on_disk()), "nginx: configuration file test is successful\n")

    def reload(self) -> Completed:
        self.reloads += 1
        if self.refusal and self.site.exists():
            with (self.folder / "error.log").open("a") as log:
                log.write(f"2026/11/20 17:00:00 [emerg] 12#12: {self.refusal}\n")
        else:
            self.load()
        return Completed(0)

    def serving(self, request: Request) -> Server | None:
        """The server that answers a request with what is loaded at the moment."""
        everyone = servers(read_dump(self.dump(self.loaded), str(self.main)))
        here = [
            s
            for s in everyone
            if any(
                effective(one, everyone).target == request.listen.target for one in s.on(request.listen.port)
            )
        ]
        sockets = [one.socket for server in here for one in server.on(request.listen.port)]
        nameless = default_server(everyone, sockets[0]) if sockets else None
        return next((server for server in here if request.name in server.names), nameless)

    def ask(self, request: Request) -> Answer:
        self.alive()
        self.requests.append(request)
        server = self.serving(request)
        if server is None:
            return Answer(0, error="Connection refused")
        if "zz-matrixrtc" not in server.file:
            with_ours = self.worse_with_ours if str(self.link) in self.loaded else {}
            status = {**self.foreign, **with_ours}.get(request.name, 200)
            return Answer(status, body="operator") if status else Answer(0, error="Connection refused")
        if request.path == REVISION_PATH:
            shown = re.search(r'return 200 "(\w+)"', self.loaded[server.file])
            return Answer(200, body=shown.group(1) if shown else "")
        return self.own.get(request.path, Answer(404))

    def sleep(self, seconds: float) -> None:
        self.time += seconds

    def clock(self) -> float:
        return self.time

    def host(self) -> Host:
        return Host(
            run=self.run,
            ask=self.ask,
            sleep=self.sleep,
            clock=self.clock,
            opens_ipv6=lambda: True,
            outgoing_address=lambda: "198.51.100.4",
            processors=2,
        )

    def wish(self, **changes: object) -> Wish:
        """The site that the tests want."""
        values: dict[str, object] = {
            "name": "zz-matrixrtc",
            "state_folder": str(self.folder.parent / "state" / "nginx"),
            "content": CONTENT,
            "server_name": NAME,
            "probes": (Probe("/health", (200,), backend="the token service"),),
            "revision_path": REVISION_PATH,
            **changes,
        }
        return Wish(**values)  # type: ignore[arg-type]
