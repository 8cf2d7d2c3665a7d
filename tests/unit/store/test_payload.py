"""Large payloads: what leaves the row, what is refused, and what a folder guarantees."""

import os
import resource
import shutil
import stat
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from taskdb.errors import (
    InvalidInput,
    NotEncodable,
    PayloadMissing,
    PayloadStoreUnreachable,
    PayloadTooLarge,
)
from taskdb.store.payload.payload import FolderPayloadStore, Payloads

KIB = 1024


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "payloads"


@pytest.fixture
def payloads(folder: Path) -> Payloads:
    return Payloads(FolderPayloadStore(folder), 256 * KIB, 64 * KIB * KIB)


def files(folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*") if path.is_file()]


def text_of(size: int) -> str:
    """Text whose JSON has this many bytes."""
    return "x" * (size - 2)


def test_a_payload_at_the_threshold_stays_in_the_row(payloads: Payloads, folder: Path) -> None:
    packed = payloads.pack(text_of(256 * KIB), "name", "the input")
    assert packed.reference is None
    assert packed.text == f'"{text_of(256 * KIB)}"'
    assert files(folder) == []


def test_a_payload_one_byte_larger_leaves_the_row(payloads: Payloads, folder: Path) -> None:
    packed = payloads.pack(text_of(256 * KIB + 1), "name", "the input")
    assert (packed.value, packed.text) == (None, None)
    assert packed.reference is not None
    assert len(files(folder)) == 1
    assert payloads.unpack(None, packed.reference) == text_of(256 * KIB + 1)


def test_the_threshold_counts_bytes_and_not_characters(payloads: Payloads) -> None:
    wide = "\N{PILE OF POO}"  # four bytes
    assert payloads.pack(wide * (64 * KIB - 1), "fits", "the input").reference is None
    assert payloads.pack(wide * (64 * KIB), "larger", "the input").reference is not None


def test_a_payload_at_the_hard_limit_is_taken(payloads: Payloads) -> None:
    packed = payloads.pack(text_of(64 * KIB * KIB), "name", "the input")
    assert packed.reference is not None


def test_a_payload_past_the_hard_limit_is_refused(payloads: Payloads, folder: Path) -> None:
    with pytest.raises(PayloadTooLarge, match="67,108,865 bytes") as refused:
        payloads.pack(text_of(64 * KIB * KIB + 1), "name", "the input")
    assert isinstance(refused.value, InvalidInput)
    assert (refused.value.size, refused.value.limit) == (64 * KIB * KIB + 1, 64 * KIB * KIB)
    assert files(folder) == []


def test_the_hard_limit_holds_also_below_the_threshold(folder: Path) -> None:
    payloads = Payloads(FolderPayloadStore(folder), inline_bytes=256 * KIB, limit_bytes=100)
    assert payloads.pack(text_of(100), "name", "the input").text is not None
    with pytest.raises(PayloadTooLarge):
        payloads.pack(text_of(101), "name", "the input")


def test_what_is_not_json_writes_nothing(payloads: Payloads, folder: Path) -> None:
    with pytest.raises(NotEncodable):
        payloads.pack({"large": text_of(300 * KIB), "bad": {1}}, "name", "the input")
    assert files(folder) == []


def test_none_is_no_payload(payloads: Payloads) -> None:
    packed = payloads.pack(None, "name", "the input")
    assert (packed.value, packed.text, packed.reference) == (None, None, None)


def test_a_discarded_payload_is_gone_and_may_be_discarded_again(
    payloads: Payloads, folder: Path
) -> None:
    packed = payloads.pack(text_of(300 * KIB), "name", "the input")
    payloads.discard(packed.reference)
    payloads.discard(packed.reference)
    payloads.discard(None)
    assert files(folder) == []
    with pytest.raises(PayloadMissing, match="TASKDB_PAYLOAD_DIR"):
        payloads.read(str(packed.reference))


def test_a_payload_is_readable_by_its_user_only(folder: Path) -> None:
    reference = FolderPayloadStore(folder).write("name", b"secret")
    assert stat.S_IMODE((folder / reference).stat().st_mode) == 0o600


def test_a_payload_that_could_not_be_written_leaves_nothing(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(handle: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(PayloadStoreUnreachable, match="No space left"):
        FolderPayloadStore(folder).write("name", b"much")
    monkeypatch.undo()
    assert files(folder) == []


@contextmanager
def no_room() -> Iterator[None]:
    """A system that lets this process write a few bytes to a file, and no more."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (10, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_a_disk_without_room_is_said_and_leaves_no_half(folder: Path) -> None:
    store = FolderPayloadStore(folder)
    with no_room(), pytest.raises(PayloadStoreUnreachable, match=r"payloads.*TASKDB_PAYLOAD_DIR"):
        store.write("name", b"x" * 1_000_000)
    assert files(folder) == []
    assert store.read(store.write("name", b"x")) == b"x"


@pytest.mark.parametrize("verb", ["write", "read", "remove", "has"])
def test_every_verb_says_that_the_folder_cannot_be_used(folder: Path, verb: str) -> None:
    store = FolderPayloadStore(folder)
    reference = store.write("name", b"x")
    shutil.rmtree(folder)
    folder.write_text("in the way")
    verbs: dict[str, Callable[[], object]] = {
        "write": lambda: store.write("other", b"x"),
        "read": lambda: store.read(reference),
        "remove": lambda: store.remove(reference),
        "has": lambda: store.has(reference),
    }
    with pytest.raises(PayloadStoreUnreachable, match=r"Not a directory|File exists"):
        verbs[verb]()


def test_a_reader_never_sees_half_a_payload(folder: Path) -> None:
    store = FolderPayloadStore(folder)
    contents = [bytes([letter]) * 200_000 for letter in b"abcdef"]
    reference = store.write("name", contents[0])
    over = threading.Event()

    def write() -> None:
        for _ in range(5):
            for content in contents:
                store.write("name", content)
        over.set()

    writer = threading.Thread(target=write)
    writer.start()
    seen = set()
    while not over.is_set():
        seen.add(store.read(reference))
    writer.join()
    assert seen <= set(contents)


@pytest.mark.parametrize(
    "reference",
    [
        "../secret",
        "2026-01-01/../../secret",
        "/etc/passwd",
        "..",
        "",
        ".",
        "nul\x00character",
        "link/secret",
    ],
)
def test_a_reference_never_leads_out_of_the_folder(
    folder: Path, tmp_path: Path, reference: str
) -> None:
    folder.mkdir()
    (tmp_path / "secret").write_text("secret")
    (folder / "link").symlink_to(tmp_path)
    with pytest.raises(PayloadMissing):
        FolderPayloadStore(folder).read(reference)


@pytest.mark.parametrize("reference", ["語" * 1_000, "x/" * 3_000, "../secret", "nul\x00character"])
def test_a_reference_that_nothing_can_have_is_missing_and_no_outage(
    payloads: Payloads, reference: str
) -> None:
    with pytest.raises(PayloadMissing):
        payloads.read(reference)
    payloads.discard(reference)


def test_a_name_never_leads_out_of_the_folder(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(PayloadMissing):
        FolderPayloadStore(folder).write("../../outside", b"")
    assert not (tmp_path / "outside").exists()
