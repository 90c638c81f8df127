import random

KINDS = [
    "ValueError: bad: value",
    "KeyError: 'id'",
    "queue.Empty",
    "OSError: [Errno 2] gone",
    "app.db.LockError: busy",
    "KeyError: 'name'",
    "KeyboardInterrupt",
]


def kinds():
    rng = random.Random(17)
    return [KINDS[int(rng.random() ** 1.5 * len(KINDS))] for _ in range(60)]


if __name__ == "__main__":
    for n, kind in enumerate(kinds()):
        print(f"2024-06-01 10:{n:02d}:00 INFO job {n} started")
        if n % 3 == 0:
            print(f"2024-06-01 10:{n:02d}:01 WARN retry after ValueError: bad")
        print("Traceback (most recent call last):")
        print(f'  File "/app/run.py", line {n + 5}, in step')
        print("    raise RuntimeError: not this one" if n % 4 == 0 else "    work(job)")
        print(kind)
