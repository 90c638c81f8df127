import io
import zipfile

from rollway.environments.terminal.checking import Box, ensure, equal


async def check_files_of_the_archive(box: Box) -> None:
    with zipfile.ZipFile(io.BytesIO(await box.data("sources.zip"))) as archive:
        sizes = {entry.filename: entry.file_size for entry in archive.infolist() if not entry.is_dir()}
        equal(sizes, {"package/__init__.py": 6, "package/core/run.py": 6, "package/docs/builder/build.md": 5})
        equal(archive.read("package/docs/builder/build.md"), b"docs\n")


async def check_no_unwanted_folders(box: Box) -> None:
    with zipfile.ZipFile(io.BytesIO(await box.data("sources.zip"))) as archive:
        parts = {part for name in archive.namelist() for part in name.split("/")}
        ensure(not parts & {"__pycache__", "build"}, "unwanted folders")
