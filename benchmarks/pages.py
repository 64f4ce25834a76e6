"""How fast each page of the built book appears, beside a default Jupyter Book of the same chapters.

    make book && python benchmarks/pages.py

The default book is built from the same notebooks and the same outputs with Jupyter Book's own
look: MathJax in the reader's browser, no style sheet of ours. Its MathJax comes from this machine
as well, so what it would lose by asking another host is not counted against it.

Both sites are served from this machine, compressed as a static host does it. Each page is opened
with an empty cache in headless Chromium, in turn from either site. Seconds count from the request:

paint      the first text or picture (first contentful paint)
readable   fonts are there and every formula is set
shift      how far things moved in the window while the page loaded (cumulative layout shift)
kilobytes  what went over the line, compressed, with everything the page asked for
"""

from __future__ import annotations

import argparse
import contextlib
import functools
import gzip
import json
import os
import re
import statistics
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import torch
import yaml
from playwright.sync_api import Browser, Route, sync_playwright

sys.path.insert(0, str(Path(__file__).resolve().parent))
from throughput import ROOT, provenance

sys.path[:0] = [str(ROOT / "tests" / "site"), str(ROOT / "book" / "_ext")]
import mathematics  # noqa: E402
import page_inspection as inspection  # noqa: E402

OURS = ROOT / "_build" / "html"
PLAIN = ROOT / "build" / "default"
COMPRESSED = (".html", ".css", ".js", ".svg", ".json", ".xml")
MATHJAX = "tex-mml-chtml.js"  # what Sphinx loads by default
WATCH = """
window.seen = {shift: 0, paint: 0};
new PerformanceObserver((list) => {
  for (const entry of list.getEntries())
    if (!entry.hadRecentInput) window.seen.shift += entry.value;
}).observe({type: "layout-shift", buffered: true});
new PerformanceObserver((list) => {
  for (const entry of list.getEntries())
    if (entry.name === "first-contentful-paint") window.seen.paint = entry.startTime;
}).observe({type: "paint", buffered: true});
"""
READABLE = """
async () => {
  if (window.MathJax?.startup) await window.MathJax.startup.promise;
  await document.fonts.ready;
  await new Promise((done) => requestAnimationFrame(done));
  return performance.now();
}
"""


class Compressing(SimpleHTTPRequestHandler):
    """Sends text compressed, and everything with a length, so that the browser knows its size."""

    protocol_version = "HTTP/1.1"

    def log_message(self, format: str, *args: object) -> None:
        pass

    def do_GET(self) -> None:
        path = Path(self.translate_path(self.path))
        if path.is_dir():
            path /= "index.html"
        if not path.is_file():
            self.send_error(404)
            return
        content = packed(path)
        self.send_response(200)
        self.send_header("Content-Type", self.guess_type(str(path)))
        if path.suffix in COMPRESSED:
            self.send_header("Content-Encoding", "gzip")
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)


@functools.cache
def packed(path: Path) -> bytes:
    content = path.read_bytes()
    return gzip.compress(content, 6) if path.suffix in COMPRESSED else content


@contextlib.contextmanager
def serve(folder: Path) -> Iterator[str]:
    for path in folder.rglob("*"):
        if path.is_file():
            packed(path)  # a static host has it ready
    handler = functools.partial(Compressing, directory=str(folder))
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()


def build_default() -> None:
    """The same pages with Jupyter Book's own settings, from the outputs that are cached already."""
    settings = yaml.safe_load((ROOT / "_config.yml").read_text(encoding="utf-8"))
    sphinx = settings["sphinx"]
    for name in ("mathematics", "page_metadata", "typefaces", "light_pages"):
        sphinx["local_extensions"].pop(name)
    for name, folder in sphinx["local_extensions"].items():  # relative to where the file stands
        sphinx["local_extensions"][name] = str(ROOT / folder)
    sphinx["extra_extensions"].remove("sphinxext.opengraph")
    for name in list(sphinx["config"]):
        if name.startswith(("html_", "ogp_")):
            sphinx["config"].pop(name)
    configuration = ROOT / "build" / "default.yml"
    configuration.write_text(yaml.safe_dump(settings), encoding="utf-8")
    command = [str(Path(sys.executable).with_name("jupyter-book")), "build", ".", "--quiet"]
    command += ["--config", str(configuration), "--path-output", str(PLAIN)]
    # As `make book` runs notebooks, so that their outputs are found.
    book = {"UNIGEN_BOOK": "1", "TQDM_DISABLE": "1", "PYTHONHASHSEED": "0"}
    subprocess.run(command, cwd=ROOT, check=True, env={**os.environ, **book})


def measure(browser: Browser, url: str) -> dict[str, Any]:
    context = browser.new_context(viewport={"width": 1280, "height": 900})
    context.set_default_timeout(120_000)
    page = context.new_page()
    faults: list[str] = []
    page.on("console", lambda m: faults.append(m.text) if m.type == "error" else None)
    page.on("pageerror", lambda error: faults.append(str(error)))
    elsewhere: list[str] = []
    sizes: list[float] = []

    def answer(route: Route) -> None:
        """MathJax comes from the copy on this machine; nothing else is outside."""
        address = route.request.url
        elsewhere.append(address)
        file = mathematics.mathjax_folder() / address.split("/es5/")[-1].split("?")[0]
        if "mathjax" in address and file.is_file():
            # Handed over as it is, which takes no time on a line; counted as a host would send it.
            sizes.append(len(gzip.compress(file.read_bytes(), 6)))
            route.fulfill(path=file)
        else:
            route.abort()

    page.route(re.compile(r"^https?://(?!127\.0\.0\.1)"), answer)
    network = context.new_cdp_session(page)
    network.send("Network.enable")
    urls: dict[str, str] = {}

    def asked(event: dict[str, Any]) -> None:
        urls[event["requestId"]] = event["request"]["url"]

    def arrived(event: dict[str, Any]) -> None:
        if "127.0.0.1" in urls.get(event["requestId"], ""):
            sizes.append(event["encodedDataLength"])

    network.on("Network.requestWillBeSent", asked)
    network.on("Network.loadingFinished", arrived)
    page.add_init_script(WATCH)
    page.goto(url, wait_until="load")
    readable = page.evaluate(READABLE)
    page.wait_for_timeout(200)
    seen = page.evaluate("() => window.seen")
    unset = page.locator(".math:not(:has(mjx-container))").count()
    context.close()
    if unset:
        raise SystemExit(f"{url}: {unset} formulas were not set, so its seconds mean nothing.")
    return {
        "paint": round(seen["paint"] / 1000, 3),
        "readable": round(readable / 1000, 3),
        "shift": round(seen["shift"], 4),
        "kilobytes": round(sum(sizes) / 1000),
        "requests": len(sizes),
        "other_hosts": len(elsewhere),
        "console": len(faults),
    }


def median(rows: list[dict[str, Any]], key: str) -> float:
    return round(statistics.median(row[key] for row in rows), 3)


def main() -> int:
    parser = argparse.ArgumentParser(description="How fast the pages of the book appear.")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--out", type=Path, default=ROOT / "results" / "benchmark_pages.json")
    given = parser.parse_args()
    chromium = inspection.find_chromium()
    if chromium is None or not OURS.exists():
        print("This needs Chromium and the built book (make book).", file=sys.stderr)
        return 1
    build_default()
    default = next(PLAIN.glob("**/html"))
    pages = sorted(str(path.relative_to(OURS)) for path in (OURS / "book").glob("*.html"))
    keys = ("paint", "readable", "shift", "kilobytes", "requests", "other_hosts", "console")
    table: dict[str, Any] = {}
    with sync_playwright() as playwright, serve(OURS) as ours, serve(default) as plain:
        browser = inspection.launch(playwright, chromium)
        for name in pages:
            runs: dict[str, list[dict[str, Any]]] = {"ours": [], "default": []}
            for number in range(given.rounds):
                order = [("ours", ours), ("default", plain)]
                for site, address in order[:: 1 if number % 2 else -1]:
                    runs[site].append(measure(browser, f"{address}/{name}"))
            table[name] = {
                site: {key: median(rows, key) for key in keys} for site, rows in runs.items()
            }
            mine, other = table[name]["ours"], table[name]["default"]
            print(
                f"{name:34s} paint {mine['paint']:.2f} s ({other['paint']:.2f}), readable "
                f"{mine['readable']:.2f} s ({other['readable']:.2f}), shift {mine['shift']:.3f} "
                f"({other['shift']:.3f}), {mine['kilobytes']:.0f} kB ({other['kilobytes']:.0f})",
                flush=True,
            )
        browser.close()
    medians = {
        site: {key: median([row[site] for row in table.values()], key) for key in keys}
        for site in ("ours", "default")
    }
    ratios = {
        key: round(statistics.median(r["ours"][key] / r["default"][key] for r in table.values()), 3)
        for key in ("paint", "readable", "kilobytes")
    }
    record = {
        **provenance(torch.device("cpu")),
        "rounds": given.rounds,
        "medians": medians,
        "ours_over_default": ratios,
        "pages": table,
    }
    given.out.write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")
    print(json.dumps({"medians": medians, "ours_over_default": ratios}, indent=1))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
