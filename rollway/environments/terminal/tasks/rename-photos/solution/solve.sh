cd photos
python3 - <<'PY'
import os, re
FORMS = [r"IMG_(\d{4})(\d\d)(\d\d)_(\d+)\.JPG", r"(\d{4})-(\d\d)-(\d\d) (\d+)\.jpeg", r"DSC-(\d{4})(\d\d)(\d\d)-(\d+)\.jpg"]
for name in sorted(os.listdir("."), key=os.fsencode):
    match = next((m for form in FORMS if (m := re.fullmatch(form, name))), None)
    if match is None:
        continue
    year, month, day, number = match.groups()
    n = int(number)
    while os.path.exists(f"{year}-{month}-{day}_{n:04d}.jpg"):
        n += 1
    os.rename(name, f"{year}-{month}-{day}_{n:04d}.jpg")
PY
