"""Reading what nginx -T shows: words, blocks, includes, servers, and which of them answers for a socket."""

from __future__ import annotations

import pytest
from ansible_collections.matrixrtc.backend.plugins.module_utils.nginx_config import (
    Listen,
    NginxSyntaxError,
    default_server,
    http_includes,
    matches,
    parse,
    read_dump,
    servers,
)

DUMP = """\
# configuration file /etc/nginx/nginx.conf:
user www-data;
http {
    ssl_protocols TLSv1.2 TLSv1.3;
    include /etc/nginx/mime.types;
    include conf.d/*.conf;
    include sites-enabled/*;
}
stream {
    server { listen 5432; proxy_pass db; }
    include stream.d/*.conf;
}

# configuration file /etc/nginx/mime.types:
types { text/html html; }

# configuration file /etc/nginx/sites-enabled/b.conf:
server {
    listen [::]:443 ssl default_server;
    server_name B.example.org "quoted name" "~^x{2}\\.example$";
    ssl_protocols TLSv1.3;
}
# configuration file /etc/nginx/sites-enabled/a.conf:
upstream db { server 127.0.0.1:1; }

server { server_name a.example.org; listen 443 ssl; listen 192.0.2.1:8443; listen unix:/x; listen 443 quic; }
server { server_name plain.example.org; }
# configuration file /etc/nginx/stream.d/s.conf:
server { listen 443; }
"""


def text_of(source: str) -> list[tuple[str, ...]]:
    return [(one.name, *one.arguments) for one in parse(source, "x")]


@pytest.mark.parametrize(
    ("source", "words"),
    [
        ("a b;", ("a", "b")),
        ("a # b ;\n c;", ("a", "c")),
        ("a b#c;", ("a", "b#c")),
        ('a \'b ; {\' "c\\"d";', ("a", "b ; {", 'c"d')),
        ("a b'c;", ("a", "b'c")),
        ("a ${b}c $d;", ("a", "${b}c", "$d")),
        ("a \\;b;", ("a", "\\;b")),
        ('a "~^\\d+\\.x$" 1;', ("a", "~^\\d+\\.x$", "1")),
    ],
)
def test_words(source: str, words: tuple[str, ...]) -> None:
    assert text_of(source) == [words]


@pytest.mark.parametrize("source", ["a", "a {", "}", "a { b }", "{ }", ";", "a; }"])
def test_what_is_no_configuration_is_refused_with_its_place(source: str) -> None:
    with pytest.raises(NginxSyntaxError, match="file"):
        parse(source, "file")


def test_blocks_in_other_languages_are_skipped() -> None:
    source = "content_by_lua_block { if x then y({['a']=1}) end -- ; \" }\nb;"
    assert text_of(source)[-1] == ("b",)


def test_lines_are_those_of_the_file() -> None:
    tree = read_dump(DUMP, "/etc/nginx/nginx.conf")
    places = [server.place for server in servers(tree)]
    assert places == [
        "/etc/nginx/sites-enabled/a.conf:3",
        "/etc/nginx/sites-enabled/a.conf:4",
        "/etc/nginx/sites-enabled/b.conf:1",
    ]


def test_servers_are_those_of_http_in_nginxs_order() -> None:
    first, second, third = servers(read_dump(DUMP, "/etc/nginx/nginx.conf"))
    assert first.names == ("a.example.org",)
    assert first.listens == (
        Listen("*", 443, frozenset({"ssl"})),
        Listen("192.0.2.1", 8443, frozenset()),
    )
    assert first.protocols == ("TLSv1.2", "TLSv1.3")
    assert second.listens == (Listen("*", 80, frozenset()),)
    assert third.names == ("b.example.org", "quoted name", "~^x{2}\\.example$")
    assert third.listens[0].target == "::1"
    assert third.protocols == ("TLSv1.3",)


def test_default_server_is_who_asked_else_the_first() -> None:
    found = servers(read_dump(DUMP, "/etc/nginx/nginx.conf"))
    assert default_server(found, ("*", 443)) == found[0]
    assert default_server(found, ("[::]", 443)) == found[2]
    assert default_server(found, ("*", 8080)) is None


def test_includes_of_http_are_absolute() -> None:
    tree = read_dump(DUMP, "/etc/nginx/nginx.conf")
    assert "/etc/nginx/sites-enabled/*" in http_includes(tree, "/etc/nginx/nginx.conf")
    assert "/etc/nginx/stream.d/*.conf" not in http_includes(tree, "/etc/nginx/nginx.conf")


@pytest.mark.parametrize(
    ("pattern", "path", "expected"),
    [
        ("/e/*", "/e/a", True),
        ("/e/*", "/e/.a", False),
        ("/e/.*", "/e/.a", True),
        ("/e/*", "/e/d/a", False),
        ("/e/*.conf", "/e/a.conf", True),
        ("/e/*/x", "/e/d/x", True),
    ],
)
def test_patterns_are_globs(pattern: str, path: str, expected: bool) -> None:
    assert matches(pattern, path) is expected


def test_file_that_includes_itself_ends() -> None:
    dump = "# configuration file /n.conf:\nhttp { include n.conf; }\n"
    assert read_dump(dump, "/n.conf")


def test_dump_of_something_else_is_refused() -> None:
    with pytest.raises(NginxSyntaxError, match="does not show"):
        read_dump("", "/n.conf")
