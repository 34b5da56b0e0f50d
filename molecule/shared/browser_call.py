"""Two people in Chromium, in a call through Element Call as a widget. Runs on the lab's client; prints what was seen as JSON.

Reads from the file that is its argument: "site" (the server name), "people" (two of {"user", "token", "device"}), and may have
  encrypted   the room is, and media has a key of its own for each participant
  ending      how the second one goes: "leave" (default), "crash" (the browser is killed)
  pictures    a folder for screenshots
  patience    seconds until a step counts as hanging (default 45)

Each person has a browser of their own if one is to crash, else a context in the same one. The devices are Chromium's fake ones: a picture that moves.
"""

from __future__ import annotations

import contextlib
import json
import sys
import time
import urllib.parse
import urllib.request

from playwright.sync_api import Error, sync_playwright

CHROMIUM = "/usr/bin/chromium"
FLAGS = [
    "--no-sandbox",  # root in a container
    "--disable-dev-shm-usage",
    "--use-fake-device-for-media-stream",
    "--use-fake-ui-for-media-stream",
    "--autoplay-policy=no-user-gesture-required",
    "--disable-background-networking",
    "--disable-component-update",
]
DESKTOP, PHONE = {"width": 1280, "height": 800}, {"width": 390, "height": 844}
PAUSE = 200  # milliseconds
# The peer connections of a page, to be asked for their candidate pairs.
WATCH = """(() => {
    const Original = window.RTCPeerConnection;
    if (!Original) return;
    window.connections = [];
    window.RTCPeerConnection = function (...given) {
        const made = new Original(...given);
        window.connections.push(made);
        return made;
    };
    window.RTCPeerConnection.prototype = Original.prototype;
    Object.assign(window.RTCPeerConnection, Original);
    window.RTCPeerConnection.generateCertificate = (...given) => Original.generateCertificate(...given);
})()"""
# Every picture on the page, as a few pixels of it: two looks tell which ones move.
LOOK = """() => [...document.querySelectorAll("video")].filter((video) => video.videoWidth > 0).map((video) => {
    const canvas = Object.assign(document.createElement("canvas"), {width: 32, height: 24});
    const context = canvas.getContext("2d");
    context.drawImage(video, 0, 0, 32, 24);
    return [...context.getImageData(0, 0, 32, 24).data].join();
})"""
PAIRS = """async () => {
    const found = [];
    for (const connection of window.connections ?? []) {
        if (connection.connectionState !== "connected") continue;
        const stats = await connection.getStats();
        for (const pair of stats.values()) {
            if (pair.type !== "candidate-pair" || pair.state !== "succeeded" || !pair.nominated) continue;
            const [local, remote] = [stats.get(pair.localCandidateId), stats.get(pair.remoteCandidateId)];
            found.push({protocol: local.protocol, local: local.candidateType, remote: remote.candidateType,
                        address: `${remote.address}:${remote.port}`, bytes: pair.bytesReceived + pair.bytesSent});
        }
    }
    return found;
}"""


class Matrix:
    """The client API of the site's homeserver."""

    def __init__(self, base):
        self.base = base

    def __call__(self, token, method, path, body=None):
        request = urllib.request.Request(
            f"{self.base}/_matrix/client/v3/{path}",
            None if body is None else json.dumps(body).encode(),
            {"Authorization": f"Bearer {token}"},
            method=method,
        )
        with urllib.request.urlopen(request, timeout=20) as answer:
            return json.load(answer)


def room_for(matrix, people, encrypted):
    """A room of the two, in which everybody may be in a call."""
    first, second = people
    state = [{"type": "m.room.encryption", "state_key": "", "content": {"algorithm": "m.megolm.v1.aes-sha2"}}]
    levels = {"events": {"org.matrix.msc3401.call.member": 0, "org.matrix.msc3401.call": 0}}
    body = {
        "preset": "private_chat",
        "name": "A call",
        "invite": [second["user"]],
        "initial_state": state if encrypted else [],
        "power_level_content_override": levels,
    }
    room = matrix(first["token"], "POST", "createRoom", body)["room_id"]
    matrix(second["token"], "POST", f"join/{urllib.parse.quote(room)}", {})
    return room


def address(given, person, room):
    site = given["site"]
    fragment = {
        "homeserver": f"https://matrix.{site}",
        "call": f"https://call.{site}",
        "room": room,
        "encrypted": "1" if given.get("encrypted") else "0",
        **person,
    }
    return f"https://chat.{site}/#{urllib.parse.urlencode(fragment)}"


class Person:
    """One person: a page with Element Call in it."""

    def __init__(self, name, context, url, call_origin, said):
        self.name, self.call_origin, self.said = name, call_origin, said
        self.asked = []
        context.add_init_script(WATCH)
        self.page = context.new_page()
        self.page.on("console", lambda line: said.append(f"{name}: {line.type}: {line.text}"[:500]))
        self.page.on("pageerror", lambda error: said.append(f"{name}: page error: {error}"[:500]))
        self.page.on("response", self._note)
        self.page.goto(url)

    def _note(self, answer):
        path = urllib.parse.urlsplit(answer.url).path
        if "/rtc/transports" in path or "/livekit/jwt/" in path or path.startswith("/.well-known/"):
            self.asked.append(f"{answer.request.method} {path} {answer.status}")
        if answer.status >= 400:
            self.said.append(f"{self.name}: {answer.status} {answer.request.method} {answer.url.partition('?')[0]}"[:300])

    @property
    def call(self):
        """Element Call's own document."""
        return next((frame for frame in self.page.frames if frame.url.startswith(self.call_origin)), None)

    def text(self):
        with contextlib.suppress(Error):
            return self.call.inner_text("body")[:1000] if self.call else self.page.inner_text("body")[:1000]
        return ""

    def click(self, test_id, patience):
        wait(self.page, lambda: self.call is not None, patience, f"{self.name} has Element Call in the page")
        self.call.click(f'[data-testid="{test_id}"]', timeout=patience * 1000)

    def moving(self):
        """How many pictures move."""
        with contextlib.suppress(Error):
            before = self.call.evaluate(LOOK)
            self.page.wait_for_timeout(PAUSE)
            return sum(one != other for one, other in zip(before, self.call.evaluate(LOOK)))
        return 0

    def pictures(self):
        with contextlib.suppress(Error):
            return len(self.call.evaluate(LOOK))
        return 0


class HangingError(Exception):
    """A step did not come to its end."""


def wait(page, condition, patience, what):
    """Seconds until the condition holds. Raises HangingError. It is the page that waits, so that it goes on meanwhile."""
    started = time.monotonic()
    while not condition():
        if time.monotonic() - started > patience:
            raise HangingError(f"not within {patience} s: {what}")
        page.wait_for_timeout(PAUSE / 2)
    return time.monotonic() - started


def shot(given, person, name):
    if folder := given.get("pictures"):
        for size, view in (("desktop", DESKTOP), ("phone", PHONE)):
            person.page.set_viewport_size(view)
            person.page.wait_for_timeout(1000)
            person.page.screenshot(path=f"{folder}/{name}-{person.name}-{size}.png")
        person.page.set_viewport_size(DESKTOP)


def call(given, browsers, seen, said):
    """Lobby, call, pictures on both sides, and how the first one notices that the second one goes."""
    patience = given.get("patience", 45)
    room = room_for(Matrix(f"https://matrix.{given['site']}"), given["people"], given.get("encrypted"))
    seen["room"] = room
    people = [
        Person(
            data["user"].partition(":")[0][1:],
            browser.new_context(viewport=DESKTOP, permissions=["camera", "microphone"]),
            address(given, data, room),
            f"https://call.{given['site']}/",
            said,
        )
        for data, browser in zip(given["people"], browsers)
    ]
    seen["people"] = people
    first, second = people
    started = time.monotonic()
    for person in people:
        person.click("lobby_joinCall", patience)
        seen[f"{person.name} joined after"] = time.monotonic() - started
    joined = time.monotonic()
    wait(first.page, lambda: first.moving() >= 2 and second.moving() >= 2, patience, "both see two moving pictures")
    seen["pictures after"] = time.monotonic() - joined
    seen["pairs"] = {person.name: person.call.evaluate(PAIRS) for person in people}
    seen["asked"] = {person.name: sorted(set(person.asked)) for person in people}
    for person in people:
        shot(given, person, given.get("name", "call"))
    assert first.moving() >= 2 and second.moving() >= 2, "the pictures do not move any more"
    gone = time.monotonic()
    if given.get("ending") == "crash":
        with contextlib.suppress(Error):
            browsers[1].new_browser_cdp_session().send("Browser.crash")
    else:
        second.click("incall_leave", patience)
    wait(first.page, lambda: first.pictures() == 1, patience, "the first one sees that the second one has gone")
    seen["gone after"] = time.monotonic() - gone


def main():
    with open(sys.argv[1], encoding="utf-8") as source:
        given = json.load(source)
    seen, said = {}, []
    with sync_playwright() as playwright:
        browsers = [playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)]
        crashing = given.get("ending") == "crash"
        browsers.append(playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS) if crashing else browsers[0])
        try:
            call(given, browsers, seen, said)
        except (Error, HangingError, AssertionError) as error:
            seen["fault"] = str(error)
            for person in seen.get("people", []):
                seen[f"{person.name} sees"] = person.text()
                with contextlib.suppress(Error):
                    shot({**given, "pictures": given.get("pictures")}, person, f"fault-{given.get('name', 'call')}")
        seen.pop("people", None)
        seen["browser"] = browsers[0].version
        for browser in browsers:
            with contextlib.suppress(Error):
                browser.close()
    if "fault" in seen:
        seen["said"] = said[-60:]
    print(json.dumps(seen))


if __name__ == "__main__":
    main()
