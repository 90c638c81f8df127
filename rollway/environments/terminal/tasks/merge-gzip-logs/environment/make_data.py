import gzip
import pathlib
import random


def parts():
    rng = random.Random(77)
    return {
        f"part-{n:02d}.log.gz": [
            f"{int(rng.random() * 12000)} host{n % 3} event {int(rng.random() * 99)}" for _ in range(40)
        ]
        for n in range(9)
    }


DAMAGED = ["part-02.log.gz", "part-05.log.gz", "part-08.log.gz"]

if __name__ == "__main__":
    folder = pathlib.Path("parts")
    folder.mkdir()
    for name, rows in parts().items():
        data = gzip.compress(("\n".join(rows) + "\n").encode(), mtime=0)
        if name == DAMAGED[0]:
            data = data[:-60]
        if name == DAMAGED[1]:
            data = data[:-8] + bytes(4) + data[-4:]
        if name == DAMAGED[2]:
            data = b"not gzip at all\n"
        (folder / name).write_bytes(data)
