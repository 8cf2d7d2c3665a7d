"""The site of the docs: what `make docs` makes of the pages, and the links that it refuses."""

from pathlib import Path

from repository.site import DOCS, dead_links, listed, pages_outside, read_navigation, with_places

NAVIGATION = read_navigation(DOCS / "README.md")


def test_every_page_of_the_docs_is_in_the_navigation() -> None:
    assert pages_outside(NAVIGATION) == []


def test_the_list_for_programs_has_every_page_but_the_first() -> None:
    lines = [line for line in listed(NAVIGATION).splitlines() if line.startswith("- [")]

    assert len(lines) == len(NAVIGATION.all_pages()) - 1
    assert "- [States](reference/states.md): every status, every move, how a run ends" in lines


def test_a_link_to_an_example_leads_to_its_place_in_the_site() -> None:
    text, linked = with_places(DOCS / "how-to" / "flask.md")

    assert "](../examples/flask_app/index.md)" in text
    assert DOCS.parent / "examples" / "flask_app" / "README.md" in linked


def test_a_link_to_a_missing_page_or_anchor_is_refused(tmp_path: Path) -> None:
    (tmp_path / "one.html").write_text(
        '<a href="two.html#there">1</a> <a href="two.html#gone">2</a> <a href="three.html">3</a>'
    )
    (tmp_path / "two.html").write_text('<h1 id="there">Two</h1> <a href="https://host/">4</a>')

    assert dead_links(tmp_path) == [
        "one.html: three.html leads nowhere",
        "one.html: two.html#gone leads nowhere",
    ]
