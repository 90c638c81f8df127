cat > plan.py <<'PY'
import configparser
import heapq
import sys

config = configparser.ConfigParser()
config.read(sys.argv[1])
needs = {
    name: {need.strip() for need in config[name].get("needs", "").split(",") if need.strip()}
    for name in config.sections()
}
for name, wanted in needs.items():
    for need in wanted - set(needs):
        sys.exit(f"{name} needs {need}, which is not defined")
ready = [name for name, wanted in needs.items() if not wanted]
heapq.heapify(ready)
order = []
while ready:
    name = heapq.heappop(ready)
    order.append(name)
    for other, wanted in needs.items():
        if name in wanted:
            wanted.discard(name)
            if not wanted:
                heapq.heappush(ready, other)
if len(order) < len(needs):
    sys.exit(f"there is a cycle among {', '.join(sorted(set(needs) - set(order)))}")
print("\n".join(order))
PY
