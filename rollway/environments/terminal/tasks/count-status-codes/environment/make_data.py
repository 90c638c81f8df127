import random

CODES = ["200"] * 12 + ["301", "304", "404", "404", "500", "503"]
PATHS = ["/", "/index.html", "/a page.html", "/img/logo 2.png", "/api/items?q=500 404", "/login"]


def lines():
    rng = random.Random(11)
    made = []
    for n in range(400):
        code = CODES[int(rng.random() * len(CODES))]
        path = PATHS[int(rng.random() * len(PATHS))]
        address = f"10.0.{int(rng.random() * 4)}.{int(rng.random() * 30)}"
        size = "-" if code == "304" else str(int(rng.random() * 9000))
        stamp = f"12/Mar/2024:{n // 60 % 24:02d}:{n % 60:02d}:00 +0000"
        made.append(f'{address} - - [{stamp}] "GET {path} HTTP/1.1" {code} {size}')
    return made


if __name__ == "__main__":
    print("\n".join(lines()))
