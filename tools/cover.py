"""Take the picture of the book that the README shows, from the built pages.

python tools/cover.py        what `make cover` runs
"""

from __future__ import annotations

import io
import sys
from pathlib import Path

from PIL import Image
from playwright.sync_api import sync_playwright

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "tests" / "site"))

import page_inspection as inspection  # noqa: E402

SITE = ROOT / "_build" / "html"
COVER = ROOT / "book" / "_assets" / "cover.png"
PAGE, PLACE = "book/07_lemma1.html", ".unigen-slider"


def main() -> int:
    chromium = inspection.find_chromium()
    if chromium is None:
        print("No Chromium found: install it, or set CHROMIUM to its path.", file=sys.stderr)
        return 1
    with sync_playwright() as playwright, inspection.serve(SITE) as url:
        browser = inspection.launch(playwright, chromium)
        page = browser.new_page(viewport={"width": 1280, "height": 860})
        inspection.open_page(page, f"{url}/{PAGE}")
        slider = page.locator(PLACE).first
        slider.locator("input").focus()
        for _ in range(5):
            page.keyboard.press("ArrowRight")
        top = slider.evaluate("e => e.getBoundingClientRect().top + scrollY")
        page.evaluate("y => { document.activeElement.blur(); window.scrollTo(0, y); }", top - 230)
        page.wait_for_timeout(500)
        picture = Image.open(io.BytesIO(page.screenshot())).convert("RGB")
        browser.close()
    small = picture.quantize(256, Image.Quantize.MAXCOVERAGE, dither=Image.Dither.NONE)
    small.save(COVER, optimize=True)
    print(f"{COVER.relative_to(ROOT)}: {COVER.stat().st_size // 1024} kB")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
