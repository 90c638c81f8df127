import csv
import random
import sys

CUSTOMERS = ["Ada", "Smith, Jones & Co", 'The "Old" Mill', "North\nSouth Ltd", "Zoe"]
REGIONS = ["north", "south", "east", "west, coastal"]


def rows():
    rng = random.Random(21)
    made = []
    for n in range(120):
        cents = int(rng.random() * 400000)
        amount = "" if rng.random() < 0.05 else f"{cents / 100:,.2f}"
        made.append(
            (
                f"2024-{n % 12 + 1:02d}-{n % 28 + 1:02d}",
                CUSTOMERS[int(rng.random() * 5)],
                REGIONS[int(rng.random() * 4)],
                amount,
            )
        )
    return made


if __name__ == "__main__":
    out = csv.writer(sys.stdout, lineterminator="\n")
    out.writerow(["date", "customer", "region", "amount"])
    out.writerows(rows())
