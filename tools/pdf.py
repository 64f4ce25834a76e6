"""Print the whole book into one PDF.

python tools/pdf.py        what `make pdf` runs

Sphinx puts all chapters into one page, and Chromium prints it: links, equations and their numbers
are those of the site, and the chapters become the bookmarks of the PDF.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

from playwright.sync_api import sync_playwright

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "tests" / "site"))

import page_inspection as inspection  # noqa: E402

ONE_PAGE = ROOT / "_build" / "singlehtml"
PDF = ROOT / "_build" / "deep-generative-models-one-view.pdf"
FOOTER = (
    '<div style="color: #5a6675; font: 8px sans-serif; text-align: center; width: 100%">'
    '<span class="pageNumber"></span></div>'
)
# What folds on a screen lies open on paper, and pictures are there before they are scrolled to.
UNFOLD = """
async () => {
  document.documentElement.dataset.theme = "light";
  document.querySelectorAll("details").forEach((e) => e.open = true);
  document.querySelectorAll("img").forEach((e) => e.loading = "eager");
  const pictures = [...document.images];
  await Promise.all(pictures.map((e) => e.decode().catch(() => null)));
  return pictures.filter((e) => e.naturalWidth === 0).map((e) => `no picture: ${e.src}`);
}
"""


def main() -> int:
    chromium = inspection.find_chromium()
    if chromium is None:
        print("No Chromium found: install it, or set CHROMIUM to its path.", file=sys.stderr)
        return 1
    jupyter_book = str(Path(sys.executable).with_name("jupyter-book"))
    build = [jupyter_book, "build", ".", "--builder", "custom", "--custom-builder", "singlehtml"]
    build += ["-W", "-n", "--keep-going"]
    if subprocess.run(build, cwd=ROOT).returncode:
        print("The book could not be built as one page; the lines above say why.", file=sys.stderr)
        return 1
    # The page of the whole book has the place of its first page, but links as from the root, where
    # Jupyter Book leaves a page that only leads to the first.
    whole = ONE_PAGE / "index.html"
    shutil.copyfile(ONE_PAGE / "book" / "index.html", whole)
    with sync_playwright() as playwright:
        browser = inspection.launch(playwright, chromium)
        page = browser.new_page()
        page.set_default_timeout(600_000)
        page.emulate_media(media="print", color_scheme="light")
        faults = inspection.open_page(page, whole.as_uri())
        faults += page.evaluate(UNFOLD)
        page.pdf(
            path=PDF,
            format="A4",
            margin={"top": "18mm", "bottom": "18mm", "left": "16mm", "right": "16mm"},
            print_background=True,
            display_header_footer=True,
            header_template="<span></span>",
            footer_template=FOOTER,
            outline=True,
            tagged=True,
        )
        browser.close()
    for fault in faults:
        print(fault, file=sys.stderr)
    print(f"{PDF.relative_to(ROOT)}: {PDF.stat().st_size / 2**20:.1f} MB")
    return 1 if faults else 0


if __name__ == "__main__":
    raise SystemExit(main())
