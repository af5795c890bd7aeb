"""A front page, and every script and stylesheet that it names."""

import hashlib
from html.parser import HTMLParser
from time import monotonic
from urllib.parse import urljoin, urlsplit

from agent import budgets, dialling, fetching, redact
from agent.config import Config
from fleetmedic.v1.snapshot_pb2 import Asset, PageSnapshot, Snapshot, Target

LARGEST_PAGE = 2 * 1024 * 1024
LARGEST_ASSET = 16 * 1024 * 1024
MOST_ASSETS = 40
SUCCESS = 200
SCRIPT, STYLESHEET = "script", "stylesheet"


class _Named(HTMLParser):
    """What a page names: address to kind, in its order."""

    def __init__(self) -> None:
        super().__init__()
        self.found: dict[str, str] = {}
        self.base = ""

    def parse_marked_section(self, i: int, report: bool = True) -> int:  # noqa: FBT001, FBT002 - as it is called
        """What the parser gives up at browsers pass over to the next ">"."""
        try:
            return super().parse_marked_section(i, report)
        except AssertionError:
            return self.rawdata.find(">", i) + 1 or -1

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = {name: value or "" for name, value in attrs}
        rel = given.get("rel", "").lower().split()
        if tag == "base" and not self.base:
            self.base = given.get("href", "")
        elif tag == "script" and given.get("src"):
            self.found.setdefault(given["src"].strip(), SCRIPT)
        elif tag == "link" and given.get("href"):
            if "stylesheet" in rel:
                self.found.setdefault(given["href"].strip(), STYLESHEET)
            elif "modulepreload" in rel or ("preload" in rel and given.get("as") == "script"):
                self.found.setdefault(given["href"].strip(), SCRIPT)


def collect(target: Target, config: Config) -> Snapshot:
    del config
    left = dialling.until(monotonic() + budgets.PAGE)
    page, body = fetching.get(target.url, min(left(), budgets.HTTP_REQUEST), LARGEST_PAGE)
    made = PageSnapshot(page=page)
    if page.status != SUCCESS:
        return Snapshot(page=made)
    contents = hashlib.sha256()
    whole = True
    for url, kind in _assets(target.url, body, made):
        asset = made.assets.add(url=redact.url(url), kind=kind)
        try:
            content = _fetch(url, left(), asset)
        except TimeoutError:
            asset.error_text = f"no time left of {budgets.PAGE:g} s"
            content = None
        whole = whole and content is not None
        contents.update(f"{urlsplit(url).path}\n".encode() + hashlib.sha256(content or b"").digest())
    if whole and made.assets:
        made.release = contents.hexdigest()[:12]
    return Snapshot(page=made)


def _assets(url: str, body: bytes, made: PageSnapshot) -> list[tuple[str, str]]:
    """Those at the page's own place, at most MOST_ASSETS; elsewhere nobody allowed us to ask."""
    named = _Named()
    named.feed(body.decode(errors="replace"))
    found: dict[str, str] = {}
    for address, kind in named.found.items():
        if address.startswith("data:"):
            continue
        try:
            whole = urljoin(urljoin(url, named.base), address).partition("#")[0]
        except ValueError:
            whole = address
        if fetching.place(whole) == fetching.place(url):
            found.setdefault(whole, kind)
        else:
            made.elsewhere += 1
    made.left_out = max(0, len(found) - MOST_ASSETS)
    return list(found.items())[:MOST_ASSETS]


def _fetch(url: str, seconds: float, asset: Asset) -> bytes | None:
    answer, content = fetching.get(url, min(seconds, budgets.HTTP_REQUEST), LARGEST_ASSET)
    asset.status, asset.content_type, asset.bytes = answer.status, answer.content_type, len(content)
    if answer.error_class:
        asset.error_text = f"{answer.error_class}: {answer.error_text}"
    return content if answer.status == SUCCESS else None
