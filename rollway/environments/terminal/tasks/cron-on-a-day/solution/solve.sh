python3 - <<'PY' > runs.txt
LOW = {0: 0, 1: 0, 2: 1, 3: 1, 4: 0}
HIGH = {0: 59, 1: 23, 2: 31, 3: 12, 4: 7}

def values(field, kind):
    found = set()
    for part in field.split(","):
        span, _, step = part.partition("/")
        low, high = (LOW[kind], HIGH[kind]) if span == "*" else map(int, (span.split("-") * 2)[:2])
        found |= set(range(low, high + 1, int(step or 1)))
    return found

runs = []
for line in open("crontab.txt"):
    if line.startswith("#") or not line.strip():
        continue
    *fields, command = line.strip().split(None, 5)
    minute, hour, day, month, weekday = (values(field, kind) for kind, field in enumerate(fields))
    of_month, of_week = 29 in day, 4 in weekday
    restricted = not fields[2].startswith("*") and not fields[4].startswith("*")
    if 2 in month and (of_month or of_week if restricted else of_month and of_week):
        runs += [f"{h:02d}:{m:02d} {command}" for h in hour if h in (3, 4) for m in minute]
print("\n".join(sorted(runs)))
PY
