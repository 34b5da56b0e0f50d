#!/usr/bin/python3
"""The nginx_site module's logic against a real nginx, once for each situation that an operator may have.

Usage: nginx_situations.py FOLDER [SITUATION...] < SITE, as root on a host with nginx and openssl. FOLDER is
new and becomes the home of an nginx of its own on loopback ports; the host's own nginx is not touched. SITE
is the site as the role renders it, marks included, with @folder@ before the names of its certificate and
logs. Prints a JSON object: {"nginx": version, "situations": [{"name", "problems", "requests"}]}. While a site
is added, taken back or removed, all others are asked without a pause; a single wrong answer is a problem.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import socket
import ssl
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from ansible_collections.matrixrtc.backend.plugins.module_utils import (
    edge_host,
    nginx_checks,
    nginx_site,
)
from ansible_collections.matrixrtc.backend.plugins.module_utils.nginx_checks import Probe
from ansible_collections.matrixrtc.backend.plugins.module_utils.nginx_config import Listen
from ansible_collections.matrixrtc.backend.plugins.module_utils.nginx_host import Host, NginxSiteError
from ansible_collections.matrixrtc.backend.plugins.module_utils.nginx_probe import (
    Answer,
    Request,
    ask,
    outgoing_address,
)

PORT, TOKEN_PORT, SFU_PORT = 21443, 21080, 21880
RTC = "rtc.example.org"
TWIRP = "/livekit/sfu/twirp/livekit.RoomService/ListRooms"
REVISION_PATH = "/.matrixrtc-revision"
PROBES = (
    Probe("/livekit/jwt/healthz", (200,), backend="the token service"),
    Probe("/livekit/jwt/get_token", (400,), "POST", "{}", header_counts={"Access-Control-Allow-Origin": 1}),
    Probe("/livekit/sfu/rtc/validate", (401,), backend="LiveKit"),
    Probe(TWIRP, (403,), "POST", "{}", source="outside"),
    Probe("/livekit/sfu/metrics", (404,)),
)
TLS = "ssl_certificate {folder}/x.crt; ssl_certificate_key {folder}/x.key;"
MAIN = """\
worker_processes 2;
pid {folder}/nginx.pid;
error_log {folder}/error.log;
events {{ worker_connections 512; }}
http {{
    access_log {folder}/access.log;
    {http}
    include {folder}/{sites};
    {inline}
}}
"""
SHOP = """\
server {{
    listen {listen};
    {extra}
    server_name shop.example.org;
    {tls}
    location / {{ return 200 "shop {revision}"; }}
    location /slow {{ proxy_pass http://127.0.0.1:{token_port}; proxy_buffering off; }}
}}
"""
WILD = 'server {{ listen {listen}; server_name *.wild.example.org; {tls} return 200 "wild"; }}\n'
NOBODY = "server {{ listen {listen} default_server; server_name _; {tls} return 444; }}\n"
HARDENED = """\
server_tokens off;
    ssl_protocols TLSv1.3;
    client_max_body_size 1k; client_body_buffer_size 1k;
    client_header_buffer_size 1k; large_client_header_buffers 2 1k;
    client_body_timeout 1s; client_header_timeout 5s; send_timeout 10s; keepalive_timeout 5s;
    map $host $hard_key {{ default ""; ~^rtc $binary_remote_addr; }}
    limit_req_zone $hard_key zone=hard:1m rate=1r/m;
    limit_conn_zone $hard_key zone=hard_connections:1m;
    limit_req zone=hard; limit_conn hard_connections 1;
    limit_rate 10k; limit_rate_after 1;
    proxy_buffer_size 1k; proxy_buffers 4 1k; proxy_busy_buffers_size 2k;
    proxy_max_temp_file_size 1k; proxy_temp_file_write_size 2k;
    proxy_intercept_errors on; proxy_read_timeout 3s; proxy_hide_header Access-Control-Allow-Origin;
    error_page 400 401 403 404 405 =200 /oops;
    add_header Access-Control-Allow-Origin * always; add_header X-Frame-Options SAMEORIGIN always;
    proxy_set_header Connection close;
"""
OPERATORS_MAP = """\
map $http_upgrade $connection_upgrade {{ default upgrade; '' close; }}
    log_format main '$remote_addr';
"""


class Stub(BaseHTTPRequestHandler):
    """Both services behind the site, as far as its routes need them."""

    protocol_version = "HTTP/1.1"

    def answer(self) -> None:
        """Answer like the token service or LiveKit; /slow takes one second."""
        path = self.path.partition("?")[0]
        self.rfile.read(int(self.headers.get("Content-Length") or 0))
        if path == "/slow":
            self.send_response(200)
            self.send_header("Content-Length", "20")
            self.end_headers()
            for _number in range(20):
                self.wfile.write(b"x")
                time.sleep(0.05)
            return
        token = {"GET": 405, "POST": 400, "OPTIONS": 200}.get(self.command, 405)
        status = {"/healthz": 200, "/rtc": 401, "/rtc/v1": 401, "/rtc/validate": 401, "/rtc/v1/validate": 401}
        body = b"{}" if path.startswith("/twirp") else b"stub"
        self.send_response(200 if path.startswith("/twirp") else status.get(path, token))
        self.send_header("Access-Control-Allow-Origin", "*")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body if self.command != "HEAD" else b"")

    do_GET = do_POST = do_OPTIONS = do_HEAD = do_PUT = answer  # noqa: N815

    def log_message(self, *_arguments: object) -> None:
        """Say nothing."""


def asked(name: str, path: str = "/", method: str = "GET", body: str = "", address: str = "*") -> Answer:
    """One request over TLS on a connection of its own."""
    return ask(Request(Listen(address, PORT, frozenset({"ssl"})), name, path, method, body, timeout=5))


def tls_of(name: str, version: ssl.TLSVersion) -> str:
    """Protocol and ALPN that a site negotiates with a client of one TLS version."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    context.minimum_version = context.maximum_version = version
    context.set_alpn_protocols(["h2", "http/1.1"])
    try:
        with (
            socket.create_connection(("127.0.0.1", PORT), 5) as raw,
            context.wrap_socket(raw, server_hostname=name) as secure,
        ):
            return f"{secure.version()} {secure.selected_alpn_protocol()}"
    except OSError as error:
        return type(error).__name__


def fingerprint(names: Sequence[str]) -> dict[str, object]:
    """All that can be seen of the other sites: status, headers, body, TLS."""
    seen: dict[str, object] = {}
    for name in names:
        answer = asked(name)
        headers = [(key, value) for key, value in answer.headers if key != "date"]
        tls = [tls_of(name, version) for version in (ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3)]
        seen[name] = (answer.status, headers, answer.body, tls)
    return seen


class Prober(threading.Thread):
    """Asks the other sites without a pause and notes every answer that is not the first one's."""

    def __init__(self, names: Sequence[str]) -> None:
        super().__init__(daemon=True)
        self.expected = {name: (asked(name).status, asked(name).body) for name in names}
        self.requests = 0
        self.wrong: list[str] = []
        self.done = threading.Event()

    def run(self) -> None:
        while not self.done.is_set():
            for name, wanted in self.expected.items():
                answer = asked(name)
                self.requests += 1
                if (answer.status, answer.body) != wanted:
                    self.wrong.append(f"{name}: {answer} {answer.body[:40]!r} instead of {wanted}")
            time.sleep(0.005)


class Situation:
    """An nginx of its own with an operator's files, and what happens when our site comes and goes."""

    def __init__(self, folder: Path, site: str, name: str) -> None:
        self.name, self.folder, self.site = name, folder / name, site
        self.problems: list[str] = []
        self.requests = 0
        self.names: list[str] = ["shop.example.org"]
        self.on_sleep: Callable[[], None] = lambda: None
        self.has_ipv6 = True
        self.sites = "sites-enabled/*"

    # The operator's side ------------------------------------------------------------------------------

    def fill(self, text: str, **values: str) -> str:
        """A text of this file with its places filled in."""
        tls = TLS.format(folder=self.folder)
        base = {"folder": str(self.folder), "tls": tls, "token_port": str(TOKEN_PORT), "revision": ""}
        return text.format(**{**base, "listen": f"{PORT} ssl", "extra": "", **values})

    def begin(self, sites: str = "sites-enabled/*", http: str = "", inline: str = "", **files: str) -> None:
        """Write the operator's files and start nginx on them; `files` by name without .conf."""
        self.sites = sites
        for name in ("sites-available", "sites-enabled", "conf.d"):
            if name in sites or name == "sites-available":
                (self.folder / name).mkdir(parents=True)
        for extension in ("crt", "key"):
            shutil.copy(self.folder.parent / f"x.{extension}", self.folder / f"x.{extension}")
        (self.folder / "nginx.conf").write_text(
            self.fill(MAIN, sites=sites, http=self.fill(http), inline=self.fill(inline))
        )
        for name, text in (files or {"shop": self.fill(SHOP)}).items():
            self.path(name).write_text(text)
        for arguments in (["-t"], []):
            done = self.nginx(*arguments)
            if not done.ok:
                raise RuntimeError(f"{self.name}: the operator's nginx does not start: {done.said}")
        self.before = self.tree()
        self.seen = fingerprint(self.names)
        for name in self.names:
            if name != "nobody.example.org" and asked(name).status != 200:
                raise RuntimeError(f"{self.name}: {name} answers {asked(name)}")

    def path(self, name: str) -> Path:
        """The file of one of the operator's sites."""
        return self.folder / os.path.dirname(self.sites) / f"{name}.conf"

    def nginx(self, *arguments: str) -> edge_host.Completed:
        """Run the real nginx on this situation's configuration."""
        log = str(self.folder / "error.log")
        return edge_host.run(["nginx", "-e", log, "-c", str(self.folder / "nginx.conf"), *arguments])

    def tree(self) -> dict[str, str]:
        """Every file and link, without what nginx itself goes on writing."""
        found = {}
        for path in sorted(self.folder.rglob("*")):
            if path.name in ("nginx.pid", "error.log", "access.log") or path.is_dir():
                continue
            found[str(path)] = f"-> {path.readlink()}" if path.is_symlink() else path.read_text()
        return found

    def end(self) -> None:
        """Stop nginx and wait until the port is free."""
        file = self.folder / "nginx.pid"
        if not file.exists():
            return
        process = int(file.read_text())
        os.kill(process, signal.SIGTERM)
        deadline = time.monotonic() + 10
        while os.path.exists(f"/proc/{process}") and time.monotonic() < deadline:
            time.sleep(0.02)

    # Our side -----------------------------------------------------------------------------------------

    def run(self, argv: Sequence[str]) -> edge_host.Completed:
        """What the module runs, on this nginx."""
        if argv[0] == "systemctl":
            return edge_host.Completed(3)
        if list(argv) == ["nginx", "-V"]:
            done = edge_host.run(argv)
            paths = {"conf-path": "nginx.conf", "error-log-path": "error.log", "pid-path": "nginx.pid"}
            text = done.errors + "".join(f" --{key}=x" for key in paths)
            for key, name in paths.items():
                text = re.sub(rf"--{key}=\S+", f"--{key}={self.folder / name}", text)
            return edge_host.Completed(0, errors=text)
        return self.nginx(*argv[1:])

    def sleep(self, seconds: float) -> None:
        """Wait, after whatever is to happen in the meantime."""
        self.on_sleep()
        time.sleep(seconds)

    def content(self, addresses: Sequence[str]) -> str:
        """The role's site on this situation's ports."""
        text = self.site.replace("@folder@", str(self.folder))
        text = text.replace(":8080", f":{TOKEN_PORT}").replace(":7880", f":{SFU_PORT}")
        if addresses:
            lines = [f"    listen {f'[{one}]' if ':' in one else one}:{PORT} ssl;\n" for one in addresses]
            text = re.sub(r"(    @ipv\d@ listen .*\n)+", "".join(lines), text)
        return re.sub(r"(listen (?:\[::\]:)?)443\b", rf"\g<1>{PORT}", text)

    def apply(
        self, wanted: bool = True, refused: str = "", addresses: Sequence[str] = (), **changes: object
    ) -> None:
        """Bring our site about (or out) while the others are asked; `refused`: what the refusal says."""
        values: dict[str, object] = {
            "name": "zz-matrixrtc",
            "state_folder": str(self.folder / "state" / "nginx"),
            "content": self.content(addresses) if wanted else None,
            "server_name": RTC if wanted else "",
            "probes": PROBES,
            "revision_path": REVISION_PATH,
            "port": PORT,
            "logs": (str(self.folder / "matrixrtc.log"), str(self.folder / "error.log")),
            **changes,
        }
        wish = nginx_site.Wish(**values)  # type: ignore[arg-type]
        host = Host(run=self.run, sleep=self.sleep, opens_ipv6=lambda: self.has_ipv6)
        prober = Prober(self.names)
        prober.start()
        slow: list[Answer] = []
        download = threading.Thread(target=lambda: slow.append(asked(self.names[0], "/slow")))
        download.start()
        said = ""
        try:
            nginx_site.apply(wish, host)
        except NginxSiteError as error:
            said = str(error)
        download.join()
        prober.done.set()
        prober.join()
        self.requests += prober.requests
        self.problems += [f"another site failed: {wrong}" for wrong in prober.wrong[:3]]
        if prober.requests < 10:
            self.problems.append(f"only {prober.requests} requests were made to the other sites")
        if slow[0].status == 200 and len(slow[0].body) != 20:
            self.problems.append("a download from another site broke off")
        if bool(said) != bool(refused) or (refused and not re.search(refused, said)):
            self.problems.append(f"said {said!r} instead of {refused!r}")

    def check(self, what: str, is_right: bool) -> None:
        """Note a problem unless something is as it should be."""
        if not is_right:
            self.problems.append(what)

    def unchanged(self) -> None:
        """No file differs, and the other sites look the same in every respect."""
        after = self.tree()
        for path in sorted(self.before.keys() | after.keys()):
            if self.before.get(path) != after.get(path):
                self.problems.append(f"{path} is not as it was")
        self.same()

    def same(self) -> None:
        """The other sites look the same in every respect."""
        now = fingerprint(self.names)
        for name in self.names:
            if now[name] != self.seen[name]:
                self.problems.append(f"{name} was {self.seen[name]} and is {now[name]}")

    def round_trip(self, addresses: Sequence[str] = ()) -> None:
        """Add our site, fail to change it, and remove it again; nothing of it may be left."""
        self.apply(addresses=addresses)
        self.same()
        ours = self.tree()
        self.check("our site does not answer", asked(RTC, "/livekit/jwt/healthz").status == 200)
        wrong = (Probe("/livekit/jwt/healthz", (299,)),)
        self.apply(
            refused="gives 200 instead of 299.*back in place",
            addresses=addresses,
            probes=wrong,
            content=self.content(addresses).replace("sfu_timeout", "x") + "# changed\n",
        )
        self.check("the failed change left something", self.tree() == ours)
        self.check("our site is gone after a failed change", asked(RTC, "/livekit/jwt/healthz").status == 200)
        self.same()
        (self.folder / "matrixrtc.log.2.gz").write_text("")
        self.apply(wanted=False)
        self.unchanged()


# The situations -------------------------------------------------------------------------------------------


def debian(it: Situation) -> None:
    """Debian's folders, with a site for a wildcard and one that drops unknown names."""
    it.names += ["a.wild.example.org", "nobody.example.org"]
    it.begin(aaa=it.fill(SHOP), wild=it.fill(WILD), nobody=it.fill(NOBODY))
    it.round_trip()


def conf_d(it: Situation) -> None:
    """nginx.org's packages and Red Hat's: one folder, no links."""
    it.begin("conf.d/*.conf")
    it.round_trip()
    it.check("a folder was made", not (it.folder / "sites-enabled").exists())


def hardened(it: Situation) -> None:
    """An http block with small buffers, global limits and headers, and TLS 1.3 only."""
    it.begin(http=HARDENED)
    it.apply()
    token = "x" * 3000
    long_url = asked(RTC, f"/livekit/sfu/rtc/validate?access_token={token}")
    it.check(f"a token of 3 kB in the URL is answered {long_url}", long_url.status == 401)
    body = json.dumps({"room": token})
    post = asked(RTC, "/livekit/jwt/get_token", "POST", body)
    it.check(f"a request of 3 kB is answered {post}", post.status == 400)
    it.check("not one CORS header", post.count("access-control-allow-origin") == 1)
    it.check("the operator's header is in our answers", post.count("x-frame-options") == 0)
    large = asked(RTC, "/livekit/jwt/get_token", "POST", json.dumps({"room": "x" * 70000}))
    it.check(f"a request of 70 kB is answered {large}", large.status in (413, 0))
    local = [asked(RTC, TWIRP, "POST", "{}").status for _number in range(10)]
    it.check(f"the host's own calls are answered {local}", local == [200] * 10)
    logged = (it.folder / "matrixrtc.log").read_text() + (it.folder / "error.log").read_text()
    it.check("a token was logged", token not in logged)
    it.same()
    it.apply(wanted=False)
    it.unchanged()


def password(it: Situation) -> None:
    """A password for everything that has none of its own."""
    it.begin(
        http='auth_basic "closed";\n    auth_basic_user_file /dev/null;',
        shop=it.fill(SHOP, extra="auth_basic off;"),
    )
    it.round_trip()


def operators_map(it: Situation) -> None:
    """The operator's own $connection_upgrade and log format stay theirs."""
    it.begin(http=OPERATORS_MAP, shop=it.fill(SHOP, revision="$connection_upgrade"))
    it.check("the operator's map", asked("shop.example.org").body == "shop close")
    it.round_trip()


def http2(it: Situation) -> None:
    """HTTP/2 in the words of this nginx; a site on HTTP/1.1 stays there."""
    new = "version: nginx/1.2" not in it.run(["nginx", "-V"]).errors or not re.search(
        r"nginx/1\.(1\d|2[0-4])\.", it.run(["nginx", "-V"]).errors
    )
    listen = f"{PORT} ssl" if new else f"{PORT} ssl http2"
    it.names.append("plain.example.org")
    plain = it.fill(SHOP).replace("shop.example.org", "plain.example.org")
    it.begin(shop=it.fill(SHOP, listen=listen, extra="http2 on;" if new else ""), plain=plain)
    it.round_trip()


def reuseport(it: Situation) -> None:
    """A socket with options of its own, for both families."""
    it.begin(shop=it.fill(SHOP, listen=f"{PORT} ssl reuseport backlog=256", extra=f"listen [::]:{PORT} ssl;"))
    it.round_trip()


def both_families(it: Situation) -> None:
    """One socket for IPv4 and IPv6, which a second one for IPv4 would collide with."""
    it.begin(shop=it.fill(SHOP, listen=f"[::]:{PORT} ssl ipv6only=off"))
    it.round_trip()


def no_ipv6(it: Situation) -> None:
    """A kernel without IPv6."""
    it.has_ipv6 = False
    it.begin()
    it.apply()
    it.check(
        "listens on IPv6", "[::]" not in (it.folder / "sites-available" / "zz-matrixrtc.conf").read_text()
    )
    it.apply(wanted=False)
    it.unchanged()


def single_address(it: Situation) -> None:
    """Other sites listen on one address only, so nginx could not open all of them beside it."""
    address = outgoing_address()
    it.begin(shop=it.fill(SHOP, listen=f"{address}:{PORT} ssl", extra=f"listen 127.0.0.1:{PORT} ssl;"))
    it.apply(refused=rf"shop\.conf:1 listens on .*nginx_proxy_listen_addresses to .*'{address}'")
    it.unchanged()
    it.round_trip(sorted({"127.0.0.1", address}))


def broken(it: Situation) -> None:
    """nginx is broken already: file and line are told, and nothing is touched."""
    it.begin()
    it.path("broken").write_text("server {\n    bogus on;\n}\n")
    it.before = it.tree()
    it.apply(refused=r"already broken.*bogus.*broken\.conf:2.*Nothing was changed")
    it.unchanged()


def refused_content(it: Situation) -> None:
    """A site that nginx refuses is never loaded."""
    it.begin()
    it.apply(refused=r"refuses.*bogus.*not reloaded", content="bogus on;\n" + it.content(()))
    it.unchanged()


def breaks_meanwhile(it: Situation) -> None:
    """Another site is broken by its owner while ours is being taken back; later ours still comes."""
    it.begin()

    def damage() -> None:
        it.path("theirs").write_text("bogus;\n")

    it.on_sleep = damage
    wrong = (Probe("/livekit/jwt/healthz", (299,)),)
    it.apply(refused=r"299.*nginx does not accept them.*theirs\.conf:1", probes=wrong)
    it.on_sleep = lambda: None
    it.check("our file was left", not (it.folder / "sites-available" / "zz-matrixrtc.conf").exists())
    it.same()
    it.apply(refused=r"theirs\.conf:1")
    it.path("theirs").unlink()
    it.apply()
    it.check("our site does not answer", asked(RTC, "/livekit/jwt/healthz").status == 200)
    it.apply(wanted=False)
    it.unchanged()


def first_place(it: Situation) -> None:
    """The site for unknown names stands after the include, as in Red Hat's nginx.conf, and did not say so."""
    it.names.append("nobody.example.org")
    it.begin("conf.d/*.conf", inline=SHOP, none="# no sites here\n")
    it.apply(refused=r"nginx\.conf:\d+ answers for unknown names.*Add default_server")
    it.unchanged()
    it.end()
    main = it.folder / "nginx.conf"
    main.write_text(main.read_text().replace(f"{PORT} ssl;", f"{PORT} ssl default_server;"))
    it.nginx()
    it.before = it.tree()
    it.round_trip()


SITUATIONS = (
    debian,
    conf_d,
    hardened,
    password,
    operators_map,
    http2,
    reuseport,
    both_families,
    no_ipv6,
    single_address,
    broken,
    refused_content,
    breaks_meanwhile,
    first_place,
)


@contextmanager
def services() -> Iterator[None]:
    """Both services, on loopback."""
    servers = [ThreadingHTTPServer(("127.0.0.1", port), Stub) for port in (TOKEN_PORT, SFU_PORT)]
    for server in servers:
        threading.Thread(target=server.serve_forever, daemon=True).start()
    yield
    for server in servers:
        server.shutdown()


def main(folder: Path, chosen: Sequence[str]) -> int:
    """Go through the situations; the result is the exit status."""
    site = sys.stdin.read()
    nginx_checks.PROBE_SECONDS = 2.0  # on loopback, with nothing else to do
    folder.mkdir(parents=True, exist_ok=True)
    folder.chmod(0o755)
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes",
         "-days", "2", "-subj", "/CN=x", "-keyout", str(folder / "x.key"), "-out", str(folder / "x.crt")],
        check=True,
        capture_output=True,
    )  # fmt: skip
    results = []
    with services():
        for situation in SITUATIONS:
            if chosen and situation.__name__ not in chosen:
                continue
            it = Situation(folder, site, situation.__name__)
            try:
                situation(it)
            finally:
                it.end()
            results.append({"name": it.name, "problems": it.problems, "requests": it.requests})
    version = edge_host.run(["nginx", "-v"]).errors.strip()
    print(json.dumps({"nginx": version, "situations": results}, indent=1))
    return int(any(result["problems"] for result in results))


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]), sys.argv[2:]))
