"""What a page is taken to name, and what of that is asked for."""

import contextlib
import threading
from collections.abc import Iterator, Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from agent.config import Config
from agent.probes import page
from fleetmedic.v1.snapshot_pb2 import PageSnapshot, Target

JS, CSS = "text/javascript; charset=utf-8", "text/css"


@contextlib.contextmanager
def site(files: Mapping[str, tuple[str, str]]) -> Iterator[str]:
    """Serve contents and types by path on loopback; yields the address."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            text, kind = files.get(self.path, ("", ""))
            self.send_response(200 if self.path in files else 404)
            self.send_header("Content-Type", kind)
            self.end_headers()
            self.wfile.write(text.encode())

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        try:
            yield f"http://127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()


def looked(url: str) -> PageSnapshot:
    return page.collect(Target(probe="page", url=url), Config(None, "h", Path(), Path())).page


HTML = """<!doctype html><base href="/static/"><link rel="icon" href="/favicon.ico">
<link rel="stylesheet" href="a.css"><link rel=modulepreload href=b.js><script src="b.js"></script>
<script src="https://cdn.example/x.js"></script><script src="//cdn.example/y.js"></script>
<script src="data:text/javascript,1"></script><script>inline()</script><link rel="stylesheet" href="a.css#again">
<script src="http://[bad"></script>"""


def test_scripts_and_stylesheets_of_the_page_s_own_place_are_asked_for_once_each() -> None:
    files = {"/": (HTML, "text/html"), "/static/a.css": ("a", CSS), "/static/b.js": ("b", JS)}
    with site(files) as url:
        seen = looked(f"{url}/")
    assert [(item.url.removeprefix(url), item.kind, item.status) for item in seen.assets] == [
        ("/static/a.css", "stylesheet", 200),
        ("/static/b.js", "script", 200),
    ]
    assert [item.content_type for item in seen.assets] == ["text/css", "text/javascript"]
    assert (seen.elsewhere, seen.left_out) == (3, 0)


def test_the_release_changes_with_content_and_with_what_is_named_and_with_nothing_else() -> None:
    files = {"/": (HTML, "text/html"), "/static/a.css": ("a", CSS), "/static/b.js": ("b", JS)}
    with site(files) as url:
        first = looked(f"{url}/").release
    with site({**files, "/": (f"<!-- {url} -->{HTML}", "text/html")}) as url:
        same = looked(f"{url}/").release
    with site({**files, "/static/b.js": ("B", JS)}) as url:
        other = looked(f"{url}/").release
    with site({path: item for path, item in files.items() if path != "/static/b.js"}) as url:
        broken = looked(f"{url}/").release
    assert first == same != ""
    assert other not in ("", first)
    assert broken == ""


def test_a_page_that_names_more_than_forty_says_how_many_were_left_out() -> None:
    html = "".join(f'<script src="/{number}.js"></script>' for number in range(43))
    with site({"/": (html, "text/html")} | {f"/{number}.js": ("", JS) for number in range(43)}) as url:
        seen = looked(f"{url}/")
    assert (len(seen.assets), seen.left_out) == (40, 3)


def test_markup_that_the_parser_gives_up_at_is_passed_over_as_browsers_do() -> None:
    for odd in ("<![CDATA-x[ y ]]>", "<![<![", "<![if IE]>"):
        html = f'<html>{odd}<script src="/b.js"></script>'
        with site({"/": (html, "text/html"), "/b.js": ("b", JS)}) as url:
            assert [item.url for item in looked(f"{url}/").assets] in ([f"{url}/b.js"], []), odd
