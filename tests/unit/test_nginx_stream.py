"""Our stream block in somebody else's nginx: where it goes, what is refused, what becomes of a bad one."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from ansible_collections.matrixrtc.backend.plugins.module_utils.edge_host import Completed
from ansible_collections.matrixrtc.backend.plugins.module_utils.inputs_turn_tls import in_the_way
from ansible_collections.matrixrtc.backend.plugins.module_utils.nginx_config import parse, servers
from ansible_collections.matrixrtc.backend.plugins.module_utils.nginx_host import Host, NginxSiteError
from ansible_collections.matrixrtc.backend.plugins.module_utils.nginx_probe import Answer
from ansible_collections.matrixrtc.backend.plugins.module_utils.nginx_stream import StreamWish, apply

MAIN = """\
include {folder}/modules-enabled/*.conf;
pid {folder}/nginx.pid;
events {{ }}
{more}
http {{ server {{ listen {listen} ssl; server_name example.org; }} }}
"""
CONTENT = """\
stream {
    server { listen 127.0.0.1:5350; return "@revision@"; }
    server { listen 192.0.2.11:443 ssl; proxy_pass 127.0.0.1:5349; }
}
"""


@dataclass
class Nginx:
    """An nginx that reads real files and loads them when it is told to."""

    folder: Path
    listen: str = "192.0.2.10:443"
    more: str = ""
    module: bool = True
    refuses: bool = False
    deaf: bool = False
    site_status: list[int] = field(default_factory=lambda: [200])
    loaded: str = ""
    reloads: int = 0

    @property
    def file(self) -> Path:
        return self.folder / "modules-enabled" / "turn.conf"

    def run(self, command: list[str]) -> Completed:
        if command[:2] == ["nginx", "-V"]:
            return Completed(0, "", f"nginx version: nginx/1.26.3\n--conf-path={self.folder}/nginx.conf")
        if command[:2] == ["nginx", "-T"]:
            if self.refuses and self.file.exists():
                return Completed(1, "", "nginx: [emerg] no such directive")
            return Completed(0, self._dump(), "")
        if "reload" in command:
            self.reloads += 1
            text = self.file.read_text() if self.file.exists() else ""
            self.loaded = self.loaded if self.deaf else "".join(re.findall(r'return "(.*)";', text))
        return Completed(0, "", "")

    def _dump(self) -> str:
        main = MAIN.format(folder=self.folder, more=self.more, listen=self.listen)
        pieces = [(self.folder / "nginx.conf", main)]
        if self.module:
            pieces.append(
                (self.folder / "modules-enabled" / "50.conf", "load_module x/ngx_stream_module.so;\n")
            )
        if self.file.exists():
            pieces.append((self.file, self.file.read_text()))
        return "".join(f"# configuration file {path}:\n{text}\n" for path, text in pieces)

    def host(self) -> Host:
        now = iter(range(10000))
        answers = self.site_status
        return Host(
            run=self.run,
            ask=lambda _request: Answer(answers.pop(0) if len(answers) > 1 else answers[0]),
            sleep=lambda _seconds: None,
            clock=lambda: float(next(now)),
            opens_ipv6=lambda: True,
            status=lambda _port: self.loaded,
        )


@pytest.fixture
def nginx(tmp_path: Path) -> Nginx:
    (tmp_path / "modules-enabled").mkdir()
    return Nginx(tmp_path)


def wish(nginx: Nginx, **changes: object) -> StreamWish:
    return StreamWish(
        **{  # type: ignore[arg-type]
            "name": "turn",
            "state_folder": str(nginx.folder / "state" / "nginx"),
            "content": CONTENT,
            "status_port": 5350,
            **changes,
        }
    )


def test_it_is_put_in_place_once_and_taken_out_again(nginx: Nginx) -> None:
    first = apply(wish(nginx), nginx.host())
    assert (first.changed, first.foreign, nginx.loaded) == (True, 1, first.revision)
    assert not apply(wish(nginx), nginx.host()).changed
    assert nginx.reloads == 1
    assert apply(wish(nginx, content=None), nginx.host()).changed
    assert (nginx.file.exists(), nginx.loaded, nginx.reloads) == (False, "", 2)
    assert not apply(wish(nginx, content=None), nginx.host()).changed


def test_check_mode_shows_and_changes_nothing(nginx: Nginx) -> None:
    told = apply(wish(nginx, check_mode=True), nginx.host())
    assert told.changed
    assert "192.0.2.11:443" in told.diff[0]["after"]
    assert (nginx.file.exists(), nginx.reloads) == (False, 0)


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"module": False}, "apt install libnginx-mod-stream"),
        ({"more": "stream { server { listen 9; } }"}, "has a stream block already"),
        ({"listen": "443"}, "listens where the TURN relay is to be reached. Ways out: a second address"),
        ({"listen": "192.0.2.11:443"}, "listens where the TURN relay is to be reached"),
    ],
)
def test_what_is_in_the_way_is_refused_before_anything_changes(
    nginx: Nginx, changes: dict[str, object], says: str
) -> None:
    for name, value in changes.items():
        setattr(nginx, name, value)
    with pytest.raises(NginxSiteError, match=re.escape(says)) as refused:
        apply(wish(nginx), nginx.host())
    assert str(refused.value).endswith("Nothing was changed.")
    assert (nginx.file.exists(), nginx.reloads) == (False, 0)


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"refuses": True}, "no such directive"),
        ({"deaf": True}, "did not take the new configuration"),
        ({"site_status": [200, 502]}, "became worse"),
    ],
)
def test_what_was_there_comes_back(nginx: Nginx, changes: dict[str, object], says: str) -> None:
    for name, value in changes.items():
        setattr(nginx, name, value)
    with pytest.raises(NginxSiteError, match=says) as refused:
        apply(wish(nginx), nginx.host())
    assert "What was there is back in place" in str(refused.value)
    assert not nginx.file.exists()
    assert nginx.loaded == ""


def test_a_block_on_the_wanted_sockets_stays_and_another_one_goes(nginx: Nginx) -> None:
    apply(wish(nginx), nginx.host())
    kept = wish(nginx, content=None, keep_on=("192.0.2.11:443",))
    assert not apply(kept, nginx.host()).changed
    assert apply(wish(nginx, content=None, keep_on=("*:443", "[::]:443")), nginx.host()).changed


@pytest.mark.parametrize(
    ("listen", "way", "is_refused"),
    [
        ("192.0.2.10:443 ssl", "address", False),
        ("192.0.2.11:443 ssl", "address", True),
        ("443 ssl", "address", True),
        ("[::]:443 ssl", "address", False),
        ("[::]:443 ssl ipv6only=off", "address", True),
        ("80", "address", False),
        ("192.0.2.10:443 ssl", "sni", True),
        ("80", "sni", False),
    ],
)
def test_which_sites_are_in_the_way(listen: str, way: str, is_refused: bool) -> None:
    sites = servers(parse(f"http {{ server {{ listen {listen}; }} }}", "site"))
    assert (in_the_way(sites, way, "192.0.2.11") is not None) == is_refused
