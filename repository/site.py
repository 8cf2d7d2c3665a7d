"""Builds the site of the docs into a folder and checks its links: `make docs`.

    python repository/site.py [FOLDER]

A warning of the builder, a page outside the navigation and a link that leads nowhere are errors.
The navigation is the list of docs/README.md. Beside each page stands its Markdown; llms.txt lists
the pages for programs, llms-full.txt contains them all. `SITE_URL` is the address of the site,
where it is known. Without FOLDER nothing is kept.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
from dataclasses import dataclass, field
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"
_LINK = re.compile(r"(?<=\]\()(?![a-z]+:|#)([^)#\s]+)")
_ENTRY = re.compile(
    r"^(?P<level>#{2,3}) (?P<heading>.+)$"
    r"|^(?:\| |- )\[(?P<title>[^]]+)\]\((?P<path>[^)]+)\)(?: \| (?P<text>.+) \|)?",
    re.MULTILINE,
)
_ANSI = re.compile(r"\x1b\[[0-9;]*m")


def main(words: list[str]) -> int:
    """Build and check; 1 if something is wrong, with a line for each."""
    with tempfile.TemporaryDirectory() as folder:
        source, site = Path(folder) / "docs", Path(folder) / "site"
        navigation = read_navigation(DOCS / "README.md")
        copy_sources(navigation, source)
        wrong = [f"{page}: not in the navigation" for page in pages_outside(navigation)]
        wrong += build(navigation, source)
        if not wrong:
            add_markdown(navigation, source, site)
            wrong = dead_links(site)
        for line in wrong:
            print(line, file=sys.stderr)
        if words and not wrong:
            shutil.rmtree(words[0], ignore_errors=True)
            shutil.copytree(site, words[0])
    return 1 if wrong else 0


@dataclass(frozen=True, slots=True)
class Page:
    """A page of the navigation: its title, its file, and what it is about."""

    title: str
    path: Path
    text: str = ""


@dataclass(frozen=True, slots=True)
class Section:
    """Pages under one heading, and the sections under it."""

    title: str
    pages: list[Page] = field(default_factory=list)
    sections: list[Section] = field(default_factory=list)

    def all_pages(self) -> list[Page]:
        """Every page, in the order of the navigation."""
        return [*self.pages, *(page for one in self.sections for page in one.all_pages())]


def read_navigation(index: Path, title: str = "TaskDB") -> Section:
    """The headings and the linked pages of an index; a linked index is a section of its own."""
    top = Section(title, [Page(title, index)])
    open_sections = [top]
    for entry in _ENTRY.finditer(index.read_text()):
        if entry["heading"]:
            section = Section(entry["heading"])
            del open_sections[len(entry["level"]) - 1 :]
            open_sections[-1].sections.append(section)
            open_sections.append(section)
            continue
        path = (index.parent / entry["path"]).resolve()
        if path.name == "README.md" and path.is_relative_to(DOCS):
            open_sections[-1].sections.append(read_navigation(path, entry["title"]))
        else:
            open_sections[-1].pages.append(Page(entry["title"], path, entry["text"] or ""))
    return top


def pages_outside(navigation: Section) -> list[Path]:
    """The pages of the docs that no reader would find."""
    listed = {page.path for page in navigation.all_pages()}
    return [page.relative_to(ROOT) for page in sorted(DOCS.rglob("*.md")) if page not in listed]


def place(path: Path) -> Path:
    """Where a file of the repository stands in the site: the docs at the top, examples below."""
    inside = path.relative_to(DOCS if path.is_relative_to(DOCS) else ROOT)
    return inside.with_name("index.md") if inside.name == "README.md" else inside


def copy_sources(navigation: Section, source: Path) -> None:
    """Copy the pages and every file that a page links to, with the links between their places."""
    waiting = [page.path for page in navigation.all_pages()]
    waiting += (path for path in DOCS.glob("assets/**/*") if path.is_file())
    copied: set[Path] = set()
    while waiting:
        path = waiting.pop()
        if path in copied or not path.is_file():
            continue
        copied.add(path)
        target = source / place(path)
        target.parent.mkdir(parents=True, exist_ok=True)
        if path.suffix != ".md":
            shutil.copy(path, target)
            continue
        text, linked = with_places(path)
        target.write_text(text)
        waiting += linked


def with_places(page: Path) -> tuple[str, list[Path]]:
    """The text of a page with the links that hold in the site, and the files that it links to."""
    linked: list[Path] = []

    def renamed(match: re.Match[str]) -> str:
        target = (page.parent / match[1]).resolve()
        if not target.is_file():
            return match[1]
        linked.append(target)
        return os.path.relpath(place(target), place(page).parent)

    return _LINK.sub(renamed, page.read_text()), linked


def build(navigation: Section, source: Path) -> list[str]:
    """Build the site beside its sources. Returns the warnings and errors of the builder."""
    settings = (DOCS / "site.toml").read_text()
    settings = settings.replace("[project]\n", f"[project]\nnav = {as_toml(navigation)}\n", 1)
    if address := os.environ.get("SITE_URL"):
        settings = settings.replace("[project]\n", f"[project]\nsite_url = {json.dumps(address)}\n")
    (source.parent / "zensical.toml").write_text(settings)
    done = subprocess.run(
        [sys.executable, "-m", "zensical", "build", "--strict"],
        cwd=source.parent,
        capture_output=True,
        text=True,
        check=False,
    )
    return [_ANSI.sub("", done.stdout + done.stderr)] if done.returncode else []


def as_toml(section: Section) -> str:
    """The navigation as the builder reads it: JSON would be TOML but for its colons."""
    shown = [f'{{{json.dumps(page.title)} = "{place(page.path)}"}}' for page in section.pages]
    shown += [f"{{{json.dumps(one.title)} = {as_toml(one)}}}" for one in section.sections]
    return f"[{', '.join(shown)}]"


def add_markdown(navigation: Section, source: Path, site: Path) -> None:
    """Put the Markdown of each page beside it, and the two files for programs on top."""
    for page in source.rglob("*.md"):
        target = site / page.relative_to(source)
        shutil.copy(page, target)
    intro = (DOCS / "README.md").read_text().split("\n\n")[1].replace("\n", " ")
    head = f"# {navigation.title}\n\n> {intro}\n"
    (site / "llms.txt").write_text(head + listed(navigation))
    texts = ((source / place(page.path)).read_text() for page in navigation.all_pages())
    (site / "llms-full.txt").write_text("\n\n".join([head, *texts]))


def listed(section: Section) -> str:
    """The pages of the sections, one line each, with what they are about."""
    base = os.environ.get("SITE_URL", "").rstrip("/")
    text = ""
    for one in section.sections:
        text += f"\n## {one.title}\n\n"
        for page in one.all_pages():
            address = f"{base}/{place(page.path)}" if base else str(place(page.path))
            text += f"- [{page.title}]({address}){': ' if page.text else ''}{page.text}\n"
    return text


class _Links(HTMLParser):
    """The links of a page, and the anchors that it has."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.links: set[str] = set()
        self.anchors: set[str] = {"", "__skip"}
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        for name, value in attrs:
            if name == "id" and value:
                self.anchors.add(value)
            elif value and (name, tag) in {("href", "a"), ("src", "img"), ("href", "link")}:
                self.links.add(value)


def dead_links(site: Path) -> list[str]:
    """The links of the built pages to a file or an anchor that does not exist."""
    pages = {page: _Links(page.read_text()) for page in sorted(site.rglob("*.html"))}
    wrong = []
    for page, found in pages.items():
        for link in sorted(found.links):
            parts = urlsplit(link)
            if parts.scheme or parts.netloc or page.name == "404.html":
                continue
            target = (page.parent / unquote(parts.path)).resolve() if parts.path else page
            target = target / "index.html" if target.is_dir() else target
            if not target.is_file() or (
                target in pages and unquote(parts.fragment) not in pages[target].anchors
            ):
                wrong.append(f"{page.relative_to(site)}: {link} leads nowhere")
    return wrong


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
