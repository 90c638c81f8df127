import random


def rows():
    rng = random.Random(5)
    made = []
    for n in range(600):
        address = f"192.168.{int(rng.random() * 2)}.{int(rng.random() ** 2 * 40)}"
        size = "-" if rng.random() < 0.1 else str(int(rng.random() * 50000))
        made.append((f"{n // 60:02d}:{n % 60:02d}", address, "GET", f"/f/{int(rng.random() * 90)}", size))
    return made


if __name__ == "__main__":
    for row in rows():
        print(*row)
