"""What comes out of a sandbox is a stranger's: whatever an archive holds, the copy is all that is written."""

from __future__ import annotations

import io
import os
import tarfile
from pathlib import Path
from typing import IO

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rollway.tools.sandboxes import SandboxFileError
from rollway.tools.sandboxes.archives import Bounds, Damaged, read_tree
from rollway.tools.sandboxes.unpacking import unpack

FOLDER, LINK, HARD, PIPE, DEVICE = (
    tarfile.DIRTYPE,
    tarfile.SYMTYPE,
    tarfile.LNKTYPE,
    tarfile.FIFOTYPE,
    tarfile.BLKTYPE,
)
BLOCK = tarfile.BLOCKSIZE


def entry(name: str, kind: bytes = tarfile.REGTYPE, to: str = "", content: bytes = b"") -> tuple:  # type: ignore[type-arg]
    info = tarfile.TarInfo(name)
    info.type, info.linkname, info.size = kind, to, len(content)
    info.mode = 0o755 if kind == FOLDER else 0o644
    return info, content


def made(top: str, *entries: tuple) -> IO[bytes]:  # type: ignore[type-arg]
    """An archive of a folder, which is called ``top``, with entries in it."""
    archive = io.BytesIO()
    with tarfile.open(fileobj=archive, mode="w", format=tarfile.GNU_FORMAT) as tar:
        tar.addfile(*entry(top, FOLDER))
        for info, content in entries:
            if not info.name.startswith(("/", "other")):
                info.name = f"{top}/{info.name}"
            if info.type == HARD:
                info.linkname = f"{top}/{info.linkname}"
            tar.addfile(info, io.BytesIO(content))
    return archive


@pytest.fixture(params=["content", "."])
def top(request: pytest.FixtureRequest) -> str:
    """What the folder is called: by the agent of a sandbox, and by ``tar`` in a container."""
    return str(request.param)


def names(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*"))


REFUSED = {
    "a name that leads up": [entry("../out")],
    "a name that leads up and back": [entry("a/../../copy/x")],
    "an absolute name": [entry("/tmp/rollway-out")],
    "a file twice": [entry("x", content=b"1"), entry("x", content=b"2")],
    "a file that is a folder": [entry("x"), entry("x", FOLDER)],
    "a file in a file": [entry("x"), entry("x/y")],
    "a file in a link": [entry("x", LINK, ".."), entry("x/out")],
    "a file in a link that comes later": [entry("x/out"), entry("x", LINK, "..")],
    "a file in place of a link": [entry("x", LINK, "../out"), entry("x", content=b"1")],
    "a hard link to nothing": [entry("x", HARD, "y")],
    "a hard link to a link": [entry("x", LINK, "/etc/passwd"), entry("y", HARD, "x")],
    "a hard link that leads out": [entry("x", HARD, "../../../../etc/passwd")],
    "a hard link to itself": [entry("x", HARD, "x")],
    "a name for no file": [entry("x" * 5000)],
    "a link to a name for no file": [entry("x", LINK, "y" * 5000)],
}


@pytest.mark.parametrize("what", REFUSED)
def test_an_archive_that_breaks_a_rule_is_refused_whole(tmp_path: Path, top: str, what: str) -> None:
    archive = made(top, entry("before", content=b"fine"), *(entry_again(one) for one in REFUSED[what]))
    with pytest.raises(SandboxFileError) as error:
        unpack(archive, tmp_path / "copy", top)
    assert str(error.value).startswith(f"{tmp_path}/copy: ")
    assert "\n" not in str(error.value)
    assert len(str(error.value)) < 600 + len(str(tmp_path))
    assert names(tmp_path) == []
    assert not Path("/tmp/rollway-out").exists()


def entry_again(one: tuple) -> tuple:  # type: ignore[type-arg]
    """`made` changes names; each test has its own."""
    info, content = one
    return info.replace(), content


def test_a_name_of_another_top_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SandboxFileError, match="other/x: the name leads out of the copy"):
        unpack(made("content", entry("other/x")), tmp_path / "copy", "content")
    assert names(tmp_path) == []


def test_no_sparse_file_is_blown_up(tmp_path: Path, top: str) -> None:
    info = entry("big")[0]
    info.name = f"{top}/big"
    header = bytearray(info.tobuf(tarfile.GNU_FORMAT))
    header[156:157] = tarfile.GNUTYPE_SPARSE
    header[483:495] = b"77777777777\0"  # its size when it is unpacked
    header[148:156] = b" " * 8
    header[148:156] = b"%06o\0 " % sum(header)
    archive = io.BytesIO(bytes(header) + bytes(2 * BLOCK))
    with pytest.raises(SandboxFileError, match="big: a sparse file"):
        unpack(archive, tmp_path / "copy", top)
    assert names(tmp_path) == []


def test_the_number_and_the_size_of_files_are_bounded(tmp_path: Path, top: str) -> None:
    three = [entry("a", content=b"x" * 600), entry("b", HARD, "a"), entry("c", PIPE)]
    archive = made(top, *three)
    unpack(archive, tmp_path / "copy", top, Bounds(entries=4, bytes=1200))
    for bounds, told in (
        (Bounds(entries=3), "c: more than 3 files and folders"),
        (Bounds(bytes=1199), "b: more than 1199 bytes including this file"),
    ):
        with pytest.raises(SandboxFileError, match=told):
            unpack(archive, tmp_path / "none", top, bounds)
    assert names(tmp_path) == ["copy", "copy/a", "copy/b"]


def test_what_is_no_file_folder_or_link_is_left_out(tmp_path: Path, top: str) -> None:
    unpack(made(top, entry("p", PIPE), entry("d", DEVICE), entry("x")), tmp_path / "copy", top)
    assert names(tmp_path / "copy") == ["x"]
    for nothing in (io.BytesIO(bytes(2 * BLOCK)), link_alone(top)):
        with pytest.raises(SandboxFileError, match="rejected the archive from the sandbox: it is empty"):
            unpack(nothing, tmp_path / "none", top)
    assert not (tmp_path / "none").is_symlink()


def link_alone(top: str) -> IO[bytes]:
    archive = io.BytesIO()
    with tarfile.open(fileobj=archive, mode="w") as tar:
        tar.addfile(*entry(top, LINK, "/etc"))
    return archive


def test_a_hard_link_is_a_file_of_its_own(tmp_path: Path, top: str) -> None:
    unpack(
        made(top, entry("a", content=b"x"), entry("f/b", HARD, "a"), entry("c", HARD, "f/b")),
        tmp_path / "y",
        top,
    )
    (tmp_path / "y/a").write_bytes(b"new")
    assert [(tmp_path / "y" / name).read_bytes() for name in ("a", "f/b", "c")] == [b"new", b"x", b"x"]


KEPT = {
    "a": "x",
    "b": "f/x",
    "f/c": "../x",
    "f/d": "../f/g/y",
    "e": "f/../x",
    "here": ".",
    "loop": "loop",
    "nowhere": "none",
    "far": "here/sly/x",  # nowhere as well, as `sly` is left out
}
LEFT_OUT = {
    "abs": "/etc",
    "up": "..",
    "f/up": "../..",
    "f/back": "../../copy/x",
    "over": "f/../../x",
    "long": "f/g/../../../x",
    "sly": "here/../x",
    "slow": "none/../x",
    "file": "x/../x",
    "through": "abs/passwd",
    "twice": "through",
    "f/chain": "../up/x",
}


def test_links_are_kept_where_they_stay_in_the_copy_for_certain(tmp_path: Path, top: str) -> None:
    links = [entry(name, LINK, to) for name, to in {**LEFT_OUT, **KEPT}.items()]
    copy = tmp_path / "copy"
    unpack(made(top, entry("f/g/y"), *links, entry("x")), copy, top)
    found = [path for path in copy.rglob("*") if path.is_symlink()]
    assert {str(path.relative_to(copy)): str(path.readlink()) for path in found} == KEPT


def test_a_chain_of_links_is_no_burden(tmp_path: Path, top: str) -> None:
    chain = [entry(f"l{i}", LINK, f"l{i + 1}") for i in range(3000)]
    unpack(made(top, *chain, entry("l3000", LINK, "/etc")), tmp_path / "copy", top)
    assert names(tmp_path / "copy") == []


def test_a_further_copy_goes_through_no_link_and_over_no_folder(tmp_path: Path, top: str) -> None:
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "kept").write_text("ours")
    copy = tmp_path / "copy"
    copy.mkdir()
    (copy / "f").symlink_to(tmp_path / "elsewhere")
    (copy / "g").symlink_to(tmp_path / "elsewhere" / "kept")
    (copy / "mine").write_text("ours")
    unpack(made(top, entry("f/kept", content=b"theirs"), entry("g", content=b"theirs")), copy, top)
    assert (tmp_path / "elsewhere" / "kept").read_text() == "ours"
    assert names(copy) == ["f", "f/kept", "g", "mine"]
    for other in (entry("f", LINK, "."), entry("f")):
        with pytest.raises(SandboxFileError, match=f"{copy}/f: "):
            unpack(made(top, other), copy, top)
    with pytest.raises(SandboxFileError, match=f"{copy}/mine: "):
        unpack(made(top, entry("mine", FOLDER)), copy, top)


def test_nobody_else_gets_the_right_to_write(tmp_path: Path, top: str) -> None:
    entries = [entry("f", FOLDER), entry("f/run"), entry("f/shut")]
    for (info, _), mode in zip(entries, (0o1777, 0o4777, 0), strict=True):
        info.mode = mode
    before = os.umask(0)
    try:
        unpack(made(top, *entries), tmp_path / "copy", top)
    finally:
        os.umask(before)
    found = [(tmp_path / "copy" / name).stat().st_mode & 0o7777 for name in ("f", "f/run", "f/shut")]
    assert found == [0o755, 0o755, 0o400]


def test_one_file_goes_to_the_target_itself(tmp_path: Path) -> None:
    for top, name in (("content", "content"), (".", "./any")):
        archive = io.BytesIO()
        with tarfile.open(fileobj=archive, mode="w") as tar:
            tar.addfile(entry(name, content=b"x")[0], io.BytesIO(b"x"))
        unpack(archive, tmp_path / "deep" / "file", top)
        assert (tmp_path / "deep" / "file").read_bytes() == b"x"


def test_an_archive_that_is_cut_anywhere_is_damaged(tmp_path: Path, top: str) -> None:
    archive = made(top, entry("a", content=b"x" * 700), entry("b" * 200, content=b"y"), entry("l", LINK, "a"))
    whole = archive.getvalue()  # type: ignore[attr-defined]
    end = len(whole.rstrip(b"\0")) // BLOCK * BLOCK + BLOCK  # of the last entry
    for length in [*range(0, end, 100), *range(0, end + 1, BLOCK)]:
        with pytest.raises(Damaged):
            unpack(io.BytesIO(whole[:length]), tmp_path / "copy", top)
    assert names(tmp_path) == []


def header(**fields: bytes) -> bytes:
    """A header with fields of any value, as `tarfile` writes none."""
    data = bytearray(entry("./x")[0].tobuf(tarfile.GNU_FORMAT))
    for name, value in fields.items():
        start = {"size": 124, "type": 156}[name]
        data[start : start + len(value)] = value
    data[148:156] = b" " * 8
    data[148:156] = b"%06o\0 " % sum(data)
    return bytes(data)


@pytest.mark.parametrize(
    "archive",
    [
        header(size=b"\xff" * 12),  # negative
        header(size=b"\x80" + b"\x7f" * 11),
        header(size=b"77777777777\0", type=b"x"),
        header(size=b"\xff" * 12, type=b"x"),
        header(size=b"\xff" * 12, type=b"L"),
        header(size=b"00000000000\0", type=b"L") * 3000,
        header(size=b"00000000024\0", type=b"x") + b"20 GNU.sparse.map=x\n".ljust(BLOCK, b"\0") + header(),
        b"not an archive at all" * 100,
    ],
)
def test_an_archive_that_was_made_to_confuse_is_refused_at_once(tmp_path: Path, archive: bytes) -> None:
    with pytest.raises(SandboxFileError):
        unpack(io.BytesIO(archive + bytes(2 * BLOCK)), tmp_path / "copy", ".")
    assert names(tmp_path) == []


def test_a_header_of_any_size_is_not_held_in_memory(tmp_path: Path) -> None:
    info, record = entry("./x")[0], f"{4 << 20} comment=".encode()
    archive = header(type=b"x", size=b"%011o\0" % (4 << 20)) + record.ljust((4 << 20) - 1, b"c") + b"\n"
    with pytest.raises(Damaged, match="a header of 4194304 bytes"):
        unpack(io.BytesIO(archive + info.tobuf() + bytes(2 * BLOCK)), tmp_path / "copy", ".")


PARTS = st.lists(st.sampled_from(["a", "b", "c", "..", ".", "", "copy"]), min_size=1, max_size=5).map(
    "/".join
)


@settings(max_examples=300)
@given(
    copies=st.lists(
        st.lists(
            st.tuples(PARTS, st.sampled_from([FOLDER, LINK, LINK, LINK, HARD, tarfile.REGTYPE]), PARTS),
            max_size=6,
        ),
        min_size=1,
        max_size=3,
    ),
    spoilt=st.lists(st.tuples(st.integers(0, 4000), st.integers(0, 255)), max_size=2),
)
def test_whatever_comes_nothing_is_written_or_led_outside(
    tmp_path_factory: pytest.TempPathFactory,
    copies: list[list[tuple[str, bytes, str]]],
    spoilt: list[tuple[int, int]],
) -> None:
    outside = tmp_path_factory.mktemp("outside")
    copy = outside / "in" / "copy"
    for entries in copies:
        archive = bytearray(
            made(".", *(entry(f"./{name}", kind, to) for name, kind, to in entries)).getvalue()
        )  # type: ignore[attr-defined]
        for place, value in spoilt:
            archive[place % len(archive)] = value
        try:
            read_tree(io.BytesIO(archive), ".", Bounds())
            unpack(io.BytesIO(archive), copy, ".")
        except SandboxFileError:
            pass
        assert set(names(outside)) - {"in"} == {f"in/{name}" for name in names(outside / "in")}
        assert set(names(outside / "in")) <= {"copy", *(f"copy/{name}" for name in names(copy))}
        for folder, folders, files in os.walk(copy):
            for name in [*folders, *files]:
                at = Path(folder, name)
                if at.is_symlink():
                    assert stays(at, copy), (at, at.readlink())


def stays(link: Path, copy: Path) -> bool:
    """Is every step of a link's way within the copy?"""
    here, left, steps = link.parent, [*reversed(os.readlink(link).split("/"))], 0
    while left and steps < 100:
        part, steps = left.pop(), steps + 1
        if part == "..":
            here = here.parent
        elif part not in ("", "."):
            if (here / part).is_symlink():
                left += reversed(os.readlink(here / part).split("/"))
            else:
                here /= part
        if here != copy and copy not in here.parents:
            return False
    return True
