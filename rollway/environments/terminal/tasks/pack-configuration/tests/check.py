import io
import tarfile

from rollway.environments.terminal.checking import Box, ensure, equal, gunzip


async def check_entries(box: Box) -> None:
    with tarfile.open(fileobj=io.BytesIO(gunzip(await box.data("conf.tar.gz"))), mode="r:") as archive:
        members = archive.getmembers()
        equal(
            sorted(member.name for member in members),
            ["etc/app/main.conf", "etc/default.conf", "etc/my app/it is.conf", "etc/net.conf/eth0.conf"],
        )
        for member in members:
            if member.name == "etc/default.conf":
                ensure(member.issym() and member.linkname == "app/main.conf", "the link is a link")
            else:
                ensure(member.isfile() and member.size == 4, member.name)
        file = archive.extractfile("etc/my app/it is.conf")
        ensure(file is not None and file.read() == b"d=4\n", "the content")
