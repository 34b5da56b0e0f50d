"""Ways to break a site, one at a time, and what the doctor has to say of each.

`make` breaks it on the site's host; `undo` takes back what was not the collection's and so is not repaired by
site.yml. `first` is the check that fails first in the order in which a client needs things, `cause` words of
a cause that is named. Where a look from inside knows more, `named_by` is the check that has it.
"""

from __future__ import annotations

from dataclasses import dataclass

SITE = "doctor.test"
NGINX = "/etc/nginx/sites-available/zz-matrixrtc.conf"
OPERATOR = "/etc/nginx/sites-available/operator.conf"
SYNAPSE = "/etc/matrix-synapse"
ADDED = f"{SYNAPSE}/conf.d/zz-matrixrtc.yaml"
HOMESERVER = f"{SYNAPSE}/homeserver.yaml"
LIVEKIT = "/etc/matrixrtc/livekit/livekit.yaml"
SERVICE = "/etc/matrixrtc/lk-jwt-service"
DOCUMENT = f"/var/www/{SITE}/.well-known/matrix/client"
CERTIFICATE = f"/etc/ssl/lab/rtc.{SITE}.crt"
KEY = f"/etc/ssl/lab/rtc.{SITE}.key"
EXPIRED = "/root/expired"  # .crt and .key: of the lab's authority, and out of date
RULES = "inet filter matrixrtc"


@dataclass(frozen=True)
class Fault:
    """How to break the site, how to take it back where site.yml does not, and what the doctor says."""

    make: str
    first: str
    cause: str
    undo: str = ""
    named_by: str = ""


def edit(path: str, expression: str) -> str:
    """Edit a file with sed; a fault that changes nothing is none."""
    return f"cp -p {path} {path}.whole && sed -i '{expression}' {path} && ! cmp -s {path} {path}.whole"


def nginx(path: str, expression: str) -> str:
    return f"{edit(path, expression)} && rm {path}.whole && nginx -t && systemctl reload nginx && sleep 1"


def own_nginx(expression: str) -> str:
    """Edit the operator's site, and keep what it was beside the sites."""
    return (
        f"cp -p {OPERATOR} /root/whole && sed -i '{expression}' {OPERATOR} && ! cmp -s {OPERATOR} /root/whole"
        " && nginx -t && systemctl reload nginx && sleep 1"
    )


OWN_NGINX_BACK = f"cp -p /root/whole {OPERATOR} && systemctl reload nginx && sleep 1"


def synapse(path: str, expression: str) -> str:
    return f"{edit(path, expression)} && rm {path}.whole && systemctl restart matrix-synapse"


def livekit(expression: str) -> str:
    return f"{edit(LIVEKIT, expression)} && rm {LIVEKIT}.whole && systemctl restart livekit && sleep 2"


def service(file: str, expression: str) -> str:
    path = f"{SERVICE}/{file}"
    return f"{edit(path, expression)} && rm {path}.whole && systemctl restart lk-jwt-service && sleep 2"


def document(expression: str) -> str:
    return f"{edit(DOCUMENT, expression)} && rm {DOCUMENT}.whole"


def location(path: str, words: str) -> str:
    """Words that come first in a location of our nginx site."""
    return nginx(NGINX, rf"\#location = {path} {{#a {words}")


def closed(protocol: str) -> str:
    """Our rules for a protocol are gone from the operator's chain."""
    return f"""
set -e
nft -a list chain {RULES} | grep '{protocol}' | sed 's/.*# handle //' | while read handle; do
    nft delete rule {RULES} handle "$handle"
done
! nft list chain {RULES} | grep -q '{protocol}'
"""


def certificate(make: str) -> str:
    """Another certificate in place of the SFU's."""
    keep = f"mkdir -p /root/tls && cp -p {CERTIFICATE} {KEY} /root/tls/"
    return f"{keep} && {make} && systemctl reload nginx && sleep 1"


CERTIFICATE_BACK = (
    f"cp -p /root/tls/rtc.{SITE}.crt {CERTIFICATE} && cp -p /root/tls/rtc.{SITE}.key {KEY}"
    " && systemctl reload nginx && sleep 1"
)
JWT, SFU = "/livekit/jwt", "/livekit/sfu"

ANNOUNCEMENT = {
    "delayed_events_off": Fault(
        synapse(ADDED, "/^max_event_delay_duration/d"),
        "delayed_events",
        "max_event_delay_duration is not set",
    ),
    "transports_off": Fault(
        synapse(HOMESERVER, "s/msc4143_enabled: true/msc4143_enabled: false/"),
        "transports_route",
        "msc4143_enabled is off",
    ),
    "transports_emptied": Fault(
        f"python3 - <<'END'\n"
        "import pathlib, re\n"
        f"path = pathlib.Path('{ADDED}')\n"
        "text = path.read_text()\n"
        'new = re.sub(r"(?m)^matrix_rtc:\\n(?:[ #].*\\n|\\n)*", "matrix_rtc:\\n  transports: []\\n", text)\n'
        "assert new != text\n"
        "path.write_text(new)\n"
        "END\n"
        "systemctl restart matrix-synapse",
        "transports",
        "matrix_rtc.transports is empty",
    ),
    "transports_of_another": Fault(
        synapse(ADDED, f"s#https://rtc.{SITE}/livekit/jwt#https://old.{SITE}/livekit/jwt#"),
        "transports",
        "announces another SFU first",
        synapse(ADDED, f"s#https://old.{SITE}/livekit/jwt#https://rtc.{SITE}/livekit/jwt#"),
    ),
    "openid_not_served": Fault(
        synapse(HOMESERVER, r"s/names: \[client, federation\]/names: [client]/"),
        "openid_userinfo",
        "neither the resource",
        synapse(HOMESERVER, r"s/names: \[client\]/names: [client, federation]/"),
    ),
    "homeserver_down": Fault("systemctl stop matrix-synapse", "delayed_events", "the homeserver is down"),
    "homeserver_slow": Fault(
        "systemctl kill --signal=STOP matrix-synapse",
        "delayed_events",
        "takes connections and does not answer",
        "systemctl kill --signal=CONT matrix-synapse",
    ),
    "document_is_a_page": Fault(
        f"cp -p {DOCUMENT} /root/document && echo '<html>home</html>' > {DOCUMENT}",
        "well_known_client",
        "answers this path with a page",
        f"cp -p /root/document {DOCUMENT}",
    ),
    "document_gone": Fault(
        f"mv {DOCUMENT} /root/document",
        "well_known_client",
        "nobody serves",
        f"mv /root/document {DOCUMENT}",
    ),
    "document_redirects_to_a_page": Fault(
        own_nginx(r"\#location = /.well-known/matrix/client {#a return 302 https://$host/;"),
        "well_known_client",
        "answers this path with a page",
        OWN_NGINX_BACK,
    ),
    "document_cors_doubled": Fault(
        own_nginx(
            r"\#location = /.well-known/matrix/client {#a add_header Access-Control-Allow-Origin * always;"
        ),
        "well_known_client",
        "sets its headers wrongly",
        OWN_NGINX_BACK,
    ),
    "document_cors_missing": Fault(
        own_nginx(r"/Access-Control-Allow-Origin/d"),
        "well_known_client",
        "sets its headers wrongly",
        OWN_NGINX_BACK,
    ),
    "document_names_another": Fault(
        document(f"s#https://rtc.{SITE}/livekit/jwt#https://old.{SITE}/livekit/jwt#"),
        "well_known_client",
        "announces another SFU",
        document(f"s#https://old.{SITE}/livekit/jwt#https://rtc.{SITE}/livekit/jwt#"),
    ),
    "document_slash_at_the_end": Fault(
        document("s#/livekit/jwt#/livekit/jwt/#"),
        "well_known_client",
        "ends in a slash",
        document("s#/livekit/jwt/#/livekit/jwt#"),
    ),
    "server_document_gone": Fault(
        own_nginx(r"s#location = /.well-known/matrix/server#location = /.well-known/matrix/other#"),
        "openid_userinfo",
        "no server well-known names the homeserver",
        OWN_NGINX_BACK,
    ),
}

ENTRANCE = {
    "nginx_down": Fault(
        "systemctl stop nginx", "tls_server_name", "nothing listens", "systemctl start nginx && sleep 1"
    ),
    "certificate_expired": Fault(
        certificate(f"cp {EXPIRED}.crt {CERTIFICATE} && cp {EXPIRED}.key {KEY}"),
        "tls_rtc",
        "expired",
        CERTIFICATE_BACK,
    ),
    "certificate_untrusted": Fault(
        certificate(
            f"openssl req -x509 -newkey rsa:2048 -nodes -keyout {KEY} -out {CERTIFICATE} -subj /CN=rtc.{SITE}"
            f" -addext subjectAltName=DNS:rtc.{SITE}"
        ),
        "tls_rtc",
        "self-signed certificate",
        CERTIFICATE_BACK,
    ),
    "certificate_of_another": Fault(
        certificate(f"cp /etc/ssl/lab/{SITE}.crt {CERTIFICATE} && cp /etc/ssl/lab/{SITE}.key {KEY}"),
        "tls_rtc",
        "Hostname mismatch",
        CERTIFICATE_BACK,
    ),
}

# What tells the time to the outside is nginx; a container cannot have a clock of its own.
CLOCK_FILE = "/run/systemd/system/nginx.service.d/clock.conf"
NEW_NGINX = "systemctl daemon-reload && systemctl restart nginx && sleep 1"
CLOCK = {
    "clock_off_by_five_minutes": Fault(
        f"""
set -e
apt-get update >/dev/null
apt-get install -y --no-install-recommends libfaketime >/dev/null
echo -5m > /etc/faketimerc
mkdir -p $(dirname {CLOCK_FILE})
library=$(dpkg -L libfaketime | grep 'libfaketime.so.1$')
printf '[Service]\\nEnvironment=LD_PRELOAD=%s\\n' "$library" > {CLOCK_FILE}
{NEW_NGINX}
""",
        "host_clock",
        "s ahead of that of the homeserver",
        f"rm {CLOCK_FILE} && {NEW_NGINX}",
    ),
}

TOKEN = {
    "token_service_down": Fault("systemctl stop lk-jwt-service", "token_health", "token service"),
    "prefix_kept": Fault(
        nginx(NGINX, f"s#8080/sfu/get;#8080{JWT}/sfu/get;#"), "token_sfu_get", "does not strip the prefix"
    ),
    "route_missing": Fault(location(f"{JWT}/get_token", "return 404;"), "token_get_token", "does not route"),
    "cors_doubled": Fault(
        location(f"{JWT}/sfu/get", "add_header Access-Control-Allow-Origin * always;"),
        "token_sfu_get",
        "2 Access-Control-Allow-Origin headers",
    ),
    "options_blocked": Fault(
        location(f"{JWT}/sfu/get", "if ($request_method = OPTIONS) { return 405; }"),
        "token_sfu_get",
        "answers OPTIONS itself",
    ),
    "catch_all": Fault(
        location(f"{JWT}/delegate_delayed_leave", "return 200 page;"),
        "token_delegate_leave",
        "something other than the token service",
    ),
    "key_of_another": Fault(
        service("key", "s/.*/another_key/"), "account_token", "", named_by="host_credentials"
    ),
    "secret_altered": Fault(
        service("secret", "1s/^..../xxxx/"), "account_token", "is not the same", named_by="host_credentials"
    ),
    "access_denied_to_own_users": Fault(
        service(
            "environment", "s/^LIVEKIT_FULL_ACCESS_HOMESERVERS=.*/LIVEKIT_FULL_ACCESS_HOMESERVERS=other.test/"
        ),
        "account_token",
        "full",
    ),
    "sfu_unreachable_for_the_service": Fault(
        service("hosts", f"s/^127.0.0.1 rtc.{SITE}/0.0.0.1 rtc.{SITE}/"),  # no host can have this one
        "account_token",
        "",
        named_by="host_sfu_route",
    ),
    "token_service_on_another_port": Fault(
        service("environment", "s/^LIVEKIT_JWT_BIND=.*/LIVEKIT_JWT_BIND=127.0.0.1:8090/"),
        "token_health",
        "token service",
        named_by="host_sockets",
    ),
}

SIGNALLING = {
    "livekit_down": Fault("systemctl stop livekit", "sfu_validate", "LiveKit is not running"),
    "livekit_refuses_its_settings": Fault(
        f"{edit(LIVEKIT, '$a unknown_key: true')} && rm {LIVEKIT}.whole; systemctl restart livekit; sleep 2",
        "sfu_validate",
        "unknown_key",  # the last words of LiveKit's journal
        named_by="host_services",
    ),
    "no_websocket_upgrade": Fault(
        nginx(NGINX, r's/proxy_set_header Upgrade \$matrixrtc_upgrade;/proxy_set_header Upgrade "";/'),
        "sfu_websocket",
        "websocket upgrade",
    ),
    "admin_api_open": Fault(
        nginx(NGINX, r"s/^            return 403;/            set $matrixrtc_open 1;/"),
        "sfu_admin_closed",
        "everybody may try keys",
    ),
    "admin_api_closed_to_the_service": Fault(
        nginx(NGINX, rf"\#location ^~ {SFU}/twirp {{#a return 403;"),
        "account_token",
        "does not let the RTC host use the admin API",
        named_by="host_sfu_route",
    ),
    "internal_port_public": Fault(
        livekit("s/^- 127.0.0.1$/- 0.0.0.0/"), "host_sockets", "should be on 127.0.0.1"
    ),
}

MEDIA = {
    "udp_closed": Fault(closed("udp"), "media_udp", "UDP 7882-7885 is closed"),
    "tcp_closed": Fault(closed("tcp"), "media_tcp_port", "TCP 7881 is closed"),
    "address_wrong": Fault(
        livekit("s/^  node_ip: .*/  node_ip: 192.0.2.1/"), "media_udp", "node_ip is wrong"
    ),
    "stun_on_a_media_port": Fault(
        livekit(f"/^  stun_servers:/{{n;s/.*/  - rtc.{SITE}:7882/}}"),
        "media_stun",
        "one of LiveKit's own UDP ports",
    ),
    "tcp_switched_off": Fault(
        livekit("s/^  tcp_port: .*/  tcp_port: 0/"), "media_tcp_port", "TCP 7881 is closed"
    ),
}

LEAVE = {
    "rooms_by_themselves": Fault(
        livekit("s/auto_create: false/auto_create: true/"),
        "host_livekit_settings",
        "the full-access list means nothing",
    ),
    "no_webhook": Fault(
        livekit("s#/sfu_webhook#/elsewhere#"), "host_livekit_settings", "it never learns who left"
    ),
    # LiveKit does not start with that.
    "webhook_with_another_key": Fault(
        livekit("s/^  api_key: .*/  api_key: another_key/"),
        "sfu_validate",
        "cannot sign its webhooks",
        named_by="host_livekit_settings",
    ),
}

CALLED = {**TOKEN, **SIGNALLING, **MEDIA, **LEAVE}  # that these are repaired is proven by a call
FAULTS = {**ANNOUNCEMENT, **ENTRANCE, **CLOCK, **CALLED}
