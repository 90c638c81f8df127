import random
import sys

NAMES = [
    "mara",
    "Otto",
    "lin",
    "Ben",
    "eva",
    "Tom",
    "ida",
    "Kai",
    "uma",
    "Raj",
    "zoe",
    "Max",
    "pia",
    "Leo",
    "nia",
    "Sam",
]


def users():
    return [(str(7 * n + 3), name) for n, name in enumerate(NAMES)]


def orders():
    rng = random.Random(8)
    buyers = [users()[n][0] for n in (0, 1, 3, 4, 6, 7, 9, 10, 13)]
    return [
        (str(1000 + n), buyers[int(rng.random() * len(buyers))] if n >= 9 else buyers[n], str(n * 5 % 33))
        for n in range(40)
    ]


if __name__ == "__main__":
    for row in users() if sys.argv[1] == "users" else orders():
        print(*row, sep="\t")
