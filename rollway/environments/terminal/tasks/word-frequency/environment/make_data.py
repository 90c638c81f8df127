import random

WORDS = [
    "the",
    "sea",
    "a",
    "ship",
    "wind",
    "and",
    "of",
    "salt",
    "rope",
    "in",
    "mast",
    "gull",
    "it",
    "light",
    "Harbour",
    "storm-bird",
    "don't",
]
MARKS = ["", "", "", ",", ".", ";", "!"]


def text():
    rng = random.Random(3)
    made = []
    for n in range(900):
        word = WORDS[int(rng.random() ** 2 * len(WORDS))]
        word = word.capitalize() if rng.random() < 0.2 else word
        made.append(word + MARKS[int(rng.random() * len(MARKS))] + ("\n" if n % 11 == 10 else " "))
    return "".join(made)


if __name__ == "__main__":
    print(text())
