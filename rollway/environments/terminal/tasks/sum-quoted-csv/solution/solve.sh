python3 - <<'PY'
import csv, json
from decimal import Decimal
totals = {}
with open("sales.csv", newline="") as file:
    for row in csv.DictReader(file):
        amount = Decimal(row["amount"].replace(",", "") or 0)
        totals[row["region"]] = totals.get(row["region"], Decimal(0)) + amount
json.dump({region: round(float(total), 2) for region, total in totals.items()}, open("totals.json", "w"))
PY
