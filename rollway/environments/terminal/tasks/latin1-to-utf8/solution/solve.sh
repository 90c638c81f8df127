python3 - <<'PY'
import pathlib
converted = []
for path in pathlib.Path("texts").iterdir():
    data = path.read_bytes()
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError:
        text = data.decode("latin-1")
        converted.append(path.name)
    path.write_bytes(text.encode())
pathlib.Path("converted.txt").write_text("".join(f"{name}\n" for name in sorted(converted)))
PY
