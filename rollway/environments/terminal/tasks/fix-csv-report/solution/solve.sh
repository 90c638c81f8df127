cat > report.py <<'PY'
import csv
import sys

pay = {}
with open(sys.argv[1], newline="") as file:
    for number, row in enumerate(csv.DictReader(file), 2):
        try:
            earned = float(row["hours"]) * float(row["rate"])
        except (TypeError, ValueError):
            print(f"row {number} skipped: hours or rate is no number", file=sys.stderr)
            continue
        pay[row["name"]] = pay.get(row["name"], 0.0) + earned
for name in sorted(pay):
    print(name, f"{pay[name]:.2f}")
PY
