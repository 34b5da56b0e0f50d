"""Open a page in Chromium on a desktop and on a phone, light and dark. Runs on the lab's client, prints JSON.

Reads from the file that is its argument: "page" (the file to open), "pictures" (a folder for screenshots),
"name" (theirs), and perhaps "chromium" (the program). Says of each view which requests the page made beside
its own, what the console said, how wide the content is, and what it reads.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from pathlib import Path

from playwright.sync_api import Browser, sync_playwright

CHROMIUM = "/usr/bin/chromium"
FLAGS = ["--no-sandbox", "--disable-dev-shm-usage", "--disable-background-networking"]
VIEWS = {"desktop": (1280, 800, "light"), "phone": (375, 812, "light"), "dark": (1280, 800, "dark")}
# What is cut off or sticks out at the side, by tag and class.
WIDER = """() => [...document.querySelectorAll("body *:not(svg *)")].filter((one) => {
    const box = one.getBoundingClientRect();
    return box.width > 0 && (box.right > innerWidth + 0.5 || box.left < -0.5);
}).map((one) => `${one.tagName} ${one.getAttribute("class") ?? ""}`)"""
# Texts of the drawing that lie over each other.
OVERLAPPING = """() => {
    const texts = [...document.querySelectorAll(".drawing svg text")]
        .filter((one) => one.getBoundingClientRect().width);
    const found = [];
    texts.forEach((one, index) => texts.slice(index + 1).forEach((other) => {
        const [a, b] = [one.getBoundingClientRect(), other.getBoundingClientRect()];
        const [x, y] = [Math.min(a.right, b.right) - Math.max(a.left, b.left),
                        Math.min(a.bottom, b.bottom) - Math.max(a.top, b.top)];
        if (x > 1 && y > 4) found.push(`${one.textContent} / ${other.textContent}`);
    }));
    return found;
}"""


def look(browser: Browser, given: Mapping[str, str], view: str) -> dict[str, object]:
    """Open the page once."""
    width, height, scheme = VIEWS[view]
    context = browser.new_context(viewport={"width": width, "height": height}, color_scheme=scheme)
    page = context.new_page()
    address = Path(given["page"]).resolve().as_uri()
    requests: list[str] = []
    console: list[str] = []
    page.on("request", lambda request: requests.append(request.url))
    page.on("console", lambda message: console.append(message.text))
    page.on("pageerror", lambda error: console.append(str(error)))
    page.goto(address)
    page.screenshot(path=f"{given['pictures']}/{given['name']}-{view}.png", full_page=True)
    seen = {
        "requests": [url for url in requests if url != address],
        "console": console,
        "wider": page.evaluate(WIDER),
        "overlapping": page.evaluate(OVERLAPPING),
        "drawings": page.locator(".drawing > svg:visible").count(),
        "text": page.locator("body").inner_text(),
        "background": page.evaluate("getComputedStyle(document.body).backgroundColor"),
    }
    context.close()
    return seen


def main() -> None:
    """Look at every view."""
    with open(sys.argv[1], encoding="utf-8") as source:
        given = json.load(source)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=given.get("chromium", CHROMIUM), args=FLAGS)
        seen = {view: look(browser, given, view) for view in VIEWS}
        browser.close()
    sys.stdout.write(json.dumps(seen))


if __name__ == "__main__":
    main()
