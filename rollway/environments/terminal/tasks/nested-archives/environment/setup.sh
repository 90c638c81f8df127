python3 - <<'PY'
import gzip, io, tarfile, zipfile

def tar(files):
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as archive:
        for name, data in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
    return out.getvalue()

def zip_(files):
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in files.items():
            archive.writestr(zipfile.ZipInfo(name, (2024, 1, 1, 0, 0, 0)), data)
    return out.getvalue()

def gz(data):
    return gzip.compress(data, mtime=0)

word = "".join(chr(97 + (n * n * 7 + 3 * n + 11) % 26) for n in range(14)).encode()
inner = zip_({"deep/note.txt": b"VALID\n" + word + b"\n", "deep/note.old": b"VALID\nwrong-one\n"})
middle = tar({"pictures.jpg": inner, "note.txt": b"INVALID\nnot-this\n"})
other = zip_({"note.txt": b"OLD\nnor-this\n", "x/note.txt": b"valid\nlower-case\n"})
outer = tar({"one/data.bin": gz(middle), "two/other.zip": other, "two/readme": b"VALID\nreadme\n"})
open("parcel.tar.gz", "wb").write(gz(outer))
PY
