cat > plan.py <<'PY'
import configparser
import sys

config = configparser.ConfigParser()
config.read(sys.argv[1])


def visit(name, done):
    for need in config[name].get("needs", "").split(","):
        if need:
            visit(need, done)
    if name not in done:
        done.append(name)
        print(name)


visit(config.sections()[0], [])
PY
cat > services.ini <<'INI'
[web]
needs = api, cache
[api]
needs = db
[cache]
[db]
INI
