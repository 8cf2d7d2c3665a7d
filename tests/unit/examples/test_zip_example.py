"""The ZIP example: an archive of a stranger has bounds, and leaves nothing behind past them."""

import sys
import zipfile
from collections.abc import Iterator
from copy import copy
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest

from taskdb import Fail
from taskdb.types.registry import default_registry

EXAMPLES = Path(__file__).parents[3] / "examples"


@pytest.fixture
def example(monkeypatch: pytest.MonkeyPatch) -> Iterator[ModuleType]:
    """The module of the example, imported from its file and taken back."""
    before = {name: copy(value) for name, value in vars(default_registry).items()}
    monkeypatch.syspath_prepend(str(EXAMPLES))
    spec = spec_from_file_location("zip_example", EXAMPLES / "customer_import" / "tasks.py")
    assert spec is not None
    assert spec.loader is not None
    module = module_from_spec(spec)
    monkeypatch.setitem(sys.modules, "zip_example", module)
    spec.loader.exec_module(module)
    yield module
    vars(default_registry).update(before)


def unpacked(example: ModuleType, path: Path, folder: Path) -> list[Path]:
    ctx: Any = SimpleNamespace(progress=lambda *_, **__: None)
    found: list[Path] = example.unpack_all(ctx, path, folder)
    return found


def archive(path: Path, *members: tuple[str, bytes], kind: int = zipfile.ZIP_DEFLATED) -> Path:
    with zipfile.ZipFile(path, "w", kind) as made:
        for name, content in members:
            made.writestr(name, content)
    return path


def test_files_are_unpacked(example: ModuleType, tmp_path: Path) -> None:
    path = archive(tmp_path / "a.zip", ("a.csv", b"1"), ("deep/b.csv", b"2"), ("c.txt", b"3"))
    folder = tmp_path / "out"
    assert [one.read_bytes() for one in unpacked(example, path, folder)] == [b"1", b"2"]
    assert not (folder / "c.txt").exists()


@pytest.mark.parametrize(
    "name",
    ["../a.csv", "/tmp/taskdb-escaped.csv", "x/../../a.csv", "..\\a.csv", "C:\\a.csv", "a\x1b.csv"],
)
def test_a_name_that_leaves_the_folder_is_refused(
    example: ModuleType, tmp_path: Path, name: str
) -> None:
    with pytest.raises(Fail, match="outside of its folder"):
        unpacked(example, archive(tmp_path / "a.zip", (name, b"1")), tmp_path / "out")
    assert not (tmp_path / "out").exists()
    assert not (tmp_path / "a.csv").exists()


def test_a_bomb_is_refused_before_anything_is_written(example: ModuleType, tmp_path: Path) -> None:
    path = archive(tmp_path / "a.zip", ("a.csv", b"\0" * 50_000_000))
    with pytest.raises(Fail, match="200 times"):
        unpacked(example, path, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_sizes_and_numbers_have_bounds(
    example: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(example, "MOST_FILES", 3)
    monkeypatch.setattr(example, "MOST_BYTES", 1_000)
    many = archive(tmp_path / "a.zip", *[(f"{number}.csv", b"1") for number in range(4)])
    with pytest.raises(Fail, match="at most 3"):
        unpacked(example, many, tmp_path / "out")
    large = archive(tmp_path / "b.zip", ("a.csv", b"x" * 600), ("b.csv", b"x" * 600))
    with pytest.raises(Fail, match="larger than 1,000 bytes"):
        unpacked(example, large, tmp_path / "out")


def test_an_archive_that_lies_about_its_sizes_is_stopped(
    example: ModuleType, tmp_path: Path
) -> None:
    path = archive(tmp_path / "a.zip", ("a.csv", b"x" * 500), kind=zipfile.ZIP_STORED)
    with zipfile.ZipFile(path) as opened, pytest.raises(Fail, match="larger than it says"):
        example.unpack_one(opened, opened.infolist()[0], tmp_path / "a.csv", 100)


def test_the_same_file_twice_is_refused(example: ModuleType, tmp_path: Path) -> None:
    path = archive(tmp_path / "a.zip", ("a.csv", b"1"), ("./a.csv", b"2"))
    with pytest.raises(Fail, match="twice"):
        unpacked(example, path, tmp_path / "out")


def test_a_member_with_a_password_fails_in_words(example: ModuleType, tmp_path: Path) -> None:
    path = archive(tmp_path / "a.zip", ("a.csv", b"1"))
    data = bytearray(path.read_bytes())
    for mark, at in ((b"PK\x01\x02", 8), (b"PK\x03\x04", 6)):
        data[data.index(mark) + at] |= 1
    path.write_bytes(data)
    with pytest.raises(Fail, match="cannot be unpacked"):
        unpacked(example, path, tmp_path / "out")
