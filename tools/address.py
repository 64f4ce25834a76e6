"""Change the address of the public repository everywhere, or check that every place agrees.

    python tools/address.py https://github.com/you/your-fork    what `make address URL=...` runs
    python tools/address.py                                     after editing _config.yml by hand
    python tools/address.py --check

The address stands in `_config.yml` at `repository.url`. A few files repeat it because a reader, a
notebook in Colab or GitHub itself reads them alone; `DERIVED` names them all, and no other file may
hold it. In those files the address has one of four forms, for the owner OWNER and the name NAME:

    github.com/OWNER/NAME           links, badges, `pip install git+https://...`
    /github/OWNER/NAME              Colab's links
    /gh/OWNER/NAME                  Binder's links
    OWNER.github.io/NAME            the published book
"""

from __future__ import annotations

import argparse
import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
SOURCE = "_config.yml"
# Each of these must hold the address at least once.
DERIVED = (
    "CITATION.cff",
    "CONTRIBUTING.md",
    "README.md",
    "pyproject.toml",
    "book/*.ipynb",
    "exercises/*/source.ipynb",
    "exercises/*/student/*.ipynb",
)
_ADDRESS = re.compile(r"https://github\.com/(?P<owner>[A-Za-z0-9-]+)/(?P<name>[A-Za-z0-9._-]+)")
_SOURCE_LINE = re.compile(r"^(repository:\n(?:  .*\n)*?  url: )(\S+)$", re.MULTILINE)
_PYPROJECT_LINE = re.compile(r'^Repository = "([^"]+)"$', re.MULTILINE)


class AddressError(ValueError):
    """One sentence on what is wrong and what to do."""


def parse(url: str) -> tuple[str, str]:
    """Owner and name of https://github.com/OWNER/NAME, with or without `.git` or a last slash."""
    match = _ADDRESS.fullmatch(url.strip().rstrip("/").removesuffix(".git"))
    if match is None:
        raise AddressError(
            f"'{url}' is not the address of a GitHub repository; it should look like "
            "https://github.com/you/your-fork"
        )
    return match["owner"], match["name"]


def current(root: Path = ROOT) -> str:
    """The address in `_config.yml`."""
    match = _SOURCE_LINE.search((root / SOURCE).read_text(encoding="utf-8"))
    if match is None:
        raise AddressError(f"{SOURCE} has no `url:` under `repository:`.")
    return match[2]


def forms(owner: str, name: str) -> list[str]:
    """The four ways in which a file may write the address."""
    return [
        f"github.com/{owner}/{name}",
        f"/github/{owner}/{name}",
        f"/gh/{owner}/{name}",
        f"{owner.lower()}.github.io/{name}",
        f"{owner}.github.io/{name}",
    ]


def _mention(form: str) -> re.Pattern[str]:
    """The form, not as the beginning of a longer name; `NAME.git` is the name."""
    before = "" if form.startswith("/") else r"(?<![\w.-])"
    return re.compile(rf"{before}{re.escape(form)}(?=\.git\b|\.?(?:[^\w.-]|$))")


def replace(text: str, old: tuple[str, str], new: tuple[str, str]) -> str:
    """`text` with each form of the old address replaced by the same form of the new one."""
    targets = forms(*new)
    targets[4] = targets[3]  # a host's name is written in lower case
    for form, target in zip(forms(*old), targets, strict=True):
        text = _mention(form).sub(target, text)
    return text


def mentions(text: str, address: tuple[str, str]) -> bool:
    return any(_mention(form).search(text) for form in forms(*address))


def derived(root: Path = ROOT) -> list[Path]:
    """The files that repeat the address."""
    found = [path for pattern in DERIVED for path in sorted(root.glob(pattern))]
    return [path for path in found if ".ipynb_checkpoints" not in path.parts]


def tracked(root: Path = ROOT) -> list[Path]:
    """Every file that is or may be committed."""
    command = ["git", "ls-files", "--cached", "--others", "--exclude-standard", "-z"]
    names = subprocess.run(command, cwd=root, check=True, capture_output=True).stdout
    paths = [root / name for name in names.decode().split("\0") if name]
    return [path for path in paths if path.is_file()]


def change(new_url: str, root: Path = ROOT) -> list[Path]:
    """Write the address into `_config.yml` and every derived file; returns the files changed."""
    owner, name = parse(new_url)
    new = f"https://github.com/{owner}/{name}"
    config = root / SOURCE
    text = config.read_text(encoding="utf-8")
    olds = {parse(current(root))}
    # `_config.yml` may have been edited by hand: the other files still hold the address before.
    before = _PYPROJECT_LINE.search((root / "pyproject.toml").read_text(encoding="utf-8"))
    if before is not None:
        olds.add(parse(before[1]))
    changed = []
    updated = _SOURCE_LINE.sub(lambda match: match[1] + new, text)
    if updated != text:
        config.write_text(updated, encoding="utf-8")
        changed.append(config)
    for path in derived(root):
        text = updated = path.read_text(encoding="utf-8")
        for old in sorted(olds):
            updated = replace(updated, old, (owner, name))
        if updated != text:
            path.write_text(updated, encoding="utf-8")
            changed.append(path)
    return changed


def problems(root: Path = ROOT) -> list[str]:
    """One sentence for each file that lacks the address, or holds it and should not."""
    address = parse(current(root))
    repeats = set(derived(root))
    found = []
    for pattern in DERIVED:
        if "*" not in pattern and root / pattern not in repeats:
            found.append(f"{pattern} is missing; it should hold the address.")
    for path in sorted(repeats):
        if not mentions(path.read_text(encoding="utf-8"), address):
            found.append(
                f"{path.relative_to(root)} does not hold the address of {SOURCE}, "
                f"{current(root)}: run 'make address'."
            )
    for path in tracked(root):
        if path in repeats or path == root / SOURCE:
            continue
        try:
            text = path.read_text(encoding="utf-8")
        except UnicodeDecodeError:
            continue
        if mentions(text, address):
            found.append(
                f"{path.relative_to(root)} holds the address of the repository: take it out, or "
                "name the file in DERIVED of tools/address.py."
            )
    return found


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", 1)[0])
    parser.add_argument("url", nargs="?", help="https://github.com/you/your-fork")
    parser.add_argument("--check", action="store_true", help="change nothing; say what disagrees")
    given = parser.parse_args(arguments)
    try:
        if not given.check:
            changed = change(given.url or current())
            for path in changed:
                print(f"changed {path.relative_to(ROOT)}")
            if not changed:
                print(f"nothing to change: the address is {current()}")
        found = problems()
    except AddressError as error:
        print(error, file=sys.stderr)
        return 1
    for sentence in found:
        print(sentence, file=sys.stderr)
    return 1 if found else 0


if __name__ == "__main__":
    raise SystemExit(main())
