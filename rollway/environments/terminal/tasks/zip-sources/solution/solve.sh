python3 - <<'PY'
import pathlib, zipfile
with zipfile.ZipFile("sources.zip", "w", zipfile.ZIP_DEFLATED) as archive:
    for path in sorted(pathlib.Path("package").rglob("*")):
        if path.is_file() and path.suffix != ".pyc" and path.name != ".DS_Store" and not {"__pycache__", "build"} & set(path.parts):
            archive.write(path)
PY
