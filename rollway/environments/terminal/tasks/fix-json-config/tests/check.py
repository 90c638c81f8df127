import json

from rollway.environments.terminal.checking import Box, equal

MEANT = {
    "name": "billing",
    "replicas": 3,
    "debug": False,
    "paths": ["/var/lib/billing", "/tmp/a//b"],
    "note": 'He said "no // comment"',
    "timeout": 2.5,
    "retry": {"times": 5, "wait": None},
}


async def check_values(box: Box) -> None:
    equal(
        json.dumps(json.loads(await box.text("config.json")), sort_keys=True),
        json.dumps(MEANT, sort_keys=True),
    )


async def check_order(box: Box) -> None:
    read = json.loads(await box.text("config.json"))
    equal(list(read), list(MEANT))
    equal(list(read["retry"]), ["times", "wait"])
