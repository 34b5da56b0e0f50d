"""Two people in Chromium, in a call through Element Call as a widget. Runs on the lab's client, prints JSON.

Reads from the file that is its argument: "site" (the server name), "people" (two of {"user", "token",
"device"}), and perhaps
  encrypted   the room is, and media has a key of its own for each participant
  ending      how the second one goes: "leave" (default), "crash" (the browser is killed)
  interrupted a file that is written when both see each other; whoever interrupts the call then removes it
  pictures    a folder for screenshots
  patience    seconds until a step counts as hanging (default 45)

Each person has a browser of their own if the call is to break, else a context in the same one. The devices
are Chromium's fake ones: a picture that moves.
"""

from __future__ import annotations

import contextlib
import json
import re
import sys
import time
import urllib.parse
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from ansible_collections.matrixrtc.backend.plugins.module_utils.http_client import HttpClient
from playwright.sync_api import Browser, BrowserContext, Error, Frame, Page, Response, sync_playwright

CHROMIUM = "/usr/bin/chromium"
CA_FILE = "/usr/local/share/ca-certificates/matrixrtc-lab.crt"
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
GAP = 1.0  # seconds without a moving picture that somebody would notice
STEADY = 5  # seconds that pictures have to move until an interruption is over
PATIENCE = 45  # seconds: Element Call itself tries that long before it says what is wrong
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
LOOK = """() => [...document.querySelectorAll("video")].filter((one) => one.videoWidth > 0).map((video) => {
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
                        address: `${remote.address}:${remote.port}`});
        }
    }
    return found;
}"""


class Matrix:
    """The client API of the site's homeserver."""

    def __init__(self, base: str) -> None:
        self.base = base
        self.http = HttpClient(CA_FILE)

    def __call__(self, token: str, method: str, path: str, body: object = None) -> dict[str, object]:
        answer = self.http.request(method, f"{self.base}/_matrix/client/v3/{path}", body, token)
        assert answer.status == 200, answer.summary()
        return answer.document()


def room_for(matrix: Matrix, people: list[dict[str, str]], encrypted: bool) -> str:
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
    room = str(matrix(first["token"], "POST", "createRoom", body)["room_id"])
    matrix(second["token"], "POST", f"join/{urllib.parse.quote(room)}", {})
    return room


def address(given: Mapping[str, Any], person: Mapping[str, str], room: str) -> str:
    """The page of one person."""
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

    def __init__(
        self, name: str, context: BrowserContext, url: str, call_origin: str, said: list[str]
    ) -> None:
        self.name, self.call_origin, self.said = name, call_origin, said
        self.asked: list[str] = []
        context.add_init_script(WATCH)
        self.page: Page = context.new_page()
        self.page.on("console", lambda line: said.append(f"{name}: {line.type}: {line.text}"[:500]))
        self.page.on("pageerror", lambda error: said.append(f"{name}: page error: {error}"[:500]))
        self.page.on("response", self._note)
        self.page.goto(url)

    def _note(self, answer: Response) -> None:
        path = urllib.parse.urlsplit(answer.url).path
        if "/rtc/transports" in path or "/livekit/jwt/" in path or path.startswith("/.well-known/"):
            self.asked.append(f"{answer.request.method} {path} {answer.status}")
        if answer.status >= 400:
            self.said.append(
                f"{self.name}: {answer.status} {answer.request.method} {answer.url.partition('?')[0]}"[:300]
            )

    def has_call(self) -> bool:
        """Whether Element Call's own document is in the page."""
        return any(frame.url.startswith(self.call_origin) for frame in self.page.frames)

    @property
    def call(self) -> Frame:
        """That document. Raises Error."""
        for frame in self.page.frames:
            if frame.url.startswith(self.call_origin):
                return frame
        raise Error("Element Call is not in the page")

    def text(self) -> str:
        """What the person reads."""
        with contextlib.suppress(Error):
            return str((self.call if self.has_call() else self.page).inner_text("body"))[:1000]
        return ""

    def click(self, test_id: str, patience: float) -> None:
        """Press a button of Element Call's, once it is there."""
        wait(self.page, self.has_call, patience, f"{self.name} has Element Call in the page")
        self.call.click(f'[data-testid="{test_id}"]', timeout=patience * 1000)

    def moving(self) -> int:
        """How many pictures move."""
        with contextlib.suppress(Error):
            before = self.call.evaluate(LOOK)
            self.page.wait_for_timeout(PAUSE)
            return sum(one != other for one, other in zip(before, self.call.evaluate(LOOK), strict=False))
        return 0

    def pictures(self) -> int:
        """How many pictures there are."""
        with contextlib.suppress(Error):
            return len(self.call.evaluate(LOOK))
        return 0


class HangingError(Exception):
    """A step did not come to its end."""


def wait(page: Page, condition: Callable[[], bool], patience: float, what: str) -> float:
    """Seconds until the condition holds. The page waits, so it goes on meanwhile. Raises HangingError."""
    started = time.monotonic()
    while not condition():
        if time.monotonic() - started > patience:
            raise HangingError(f"not within {patience} s: {what}")
        page.wait_for_timeout(PAUSE / 2)
    return time.monotonic() - started


def shot(given: Mapping[str, Any], person: Person, name: str) -> None:
    """Keep what a person sees, in two sizes."""
    if folder := given.get("pictures"):
        for size, view in (("desktop", DESKTOP), ("phone", PHONE)):
            person.page.set_viewport_size(view)
            person.page.wait_for_timeout(1000)
            person.page.screenshot(path=f"{folder}/{name}-{person.name}-{size}.png")
        person.page.set_viewport_size(DESKTOP)


Seen = dict[str, Any]  # what is printed


def gather(given: Mapping[str, Any], browsers: list[Browser], room: str, said: list[str]) -> list[Person]:
    """Both with their pages open."""
    return [
        Person(
            data["user"].partition(":")[0][1:],
            browser.new_context(viewport=DESKTOP, permissions=["camera", "microphone"]),
            address(given, data, room),
            f"https://call.{given['site']}/",
            said,
        )
        for data, browser in zip(given["people"], browsers, strict=True)
    ]


def join(given: Mapping[str, Any], people: list[Person], seen: Seen) -> None:
    """Through the lobby, until both see two moving pictures."""
    patience = given.get("patience", PATIENCE)
    first, second = people
    started = time.monotonic()
    for person in people:
        person.click("lobby_joinCall", patience)
        seen[f"{person.name} joined after"] = time.monotonic() - started
    seen["pictures after"] = wait(
        first.page,
        lambda: min(first.moving(), second.moving()) >= 2,
        patience,
        "both see two moving pictures",
    )
    seen["pairs"] = {person.name: person.call.evaluate(PAIRS) for person in people}
    seen["asked"] = {person.name: sorted(set(person.asked)) for person in people}
    for person in people:
        shot(given, person, given.get("name", "call"))
    assert min(first.moving(), second.moving()) >= 2, "the pictures do not move any more"


def interrupted(given: Mapping[str, Any], people: list[Person], seen: Seen) -> None:
    """The call is interrupted and goes on: for how long somebody did not see two moving pictures."""
    sign, patience = Path(given["interrupted"]), given.get("patience", PATIENCE)
    sign.touch()
    begun = moved = settled = time.monotonic()
    longest, counts = 0.0, [0, 0]
    # a moment longer than it takes, because pictures may stand still only after the sign has gone
    while sign.exists() or time.monotonic() - settled < STEADY:
        counts = [person.moving() for person in people]
        now = time.monotonic()
        if min(counts) >= 2:
            moved = now
        elif now - moved > GAP:
            longest, settled = max(longest, now - moved), now
        if now - begun > patience + STEADY:
            raise HangingError(f"both see two moving pictures again: not within {patience} s, {counts} now")
    seen["without a picture"] = longest


def part(given: Mapping[str, Any], people: list[Person], browser: Browser, seen: Seen) -> None:
    """The second one goes, and the first one sees it."""
    patience = given.get("patience", PATIENCE)
    first, second = people
    gone = time.monotonic()
    if given.get("ending") == "crash":
        with contextlib.suppress(Error):
            browser.new_browser_cdp_session().send("Browser.crash")
    else:
        second.click("incall_leave", patience)
    wait(first.page, lambda: first.pictures() == 1, patience, "the first one sees the second one go")
    seen["gone after"] = time.monotonic() - gone


def call(given: Mapping[str, Any], browsers: list[Browser], seen: Seen, said: list[str]) -> None:
    """The whole call. What goes wrong is noted, with what both see then."""
    matrix = Matrix(f"https://matrix.{given['site']}")
    seen["room"] = room_for(matrix, given["people"], bool(given.get("encrypted")))
    people = gather(given, browsers, seen["room"], said)
    try:
        join(given, people, seen)
        if given.get("interrupted"):
            interrupted(given, people, seen)
        part(given, people, browsers[1], seen)
    except (Error, HangingError, AssertionError) as error:
        seen["fault"] = str(error)
        for person in people:
            seen[f"{person.name} sees"] = person.text()
            with contextlib.suppress(Error):
                shot(given, person, f"fault-{given.get('name', 'call')}")


def main() -> None:
    """Call, and say how it was."""
    with open(sys.argv[1], encoding="utf-8") as source:
        given = json.load(source)
    seen: Seen = {}
    said: list[str] = []
    with sync_playwright() as playwright:

        def browser() -> Browser:
            return playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)

        first = browser()
        # Who comes back opens the camera anew. Two people of one browser share it, and then it may stop.
        breaks = given.get("ending") == "crash" or given.get("interrupted")
        browsers = [first, browser() if breaks else first]
        call(given, browsers, seen, said)
        seen["browser"] = first.version
        for one in browsers:
            with contextlib.suppress(Error):  # it may have crashed, or be closed already
                one.close()
    if "fault" in seen:
        seen["complaints"] = [line for line in said if not re.match(r"\w+: (debug|info|log): ", line)]
        seen["said"] = said[-60:]
    print(json.dumps(seen))


if __name__ == "__main__":
    main()
