mkdir -p logs
python3 - <<'PY'
import gzip

def line(n, level, text):
    return f"2024-05-{1 + n // 1440:02d} {n // 60 % 24:02d}:{n % 60:02d}:00 {level} {text}\n"

made = []
for n in range(0, 2400):
    if n in (5, 700, 1500, 1810):
        made.append(line(n, "INFO", "service started"))
    elif n % 97 == 0 and not 1810 < n < 1890:
        made.append(line(n, "ERROR", f"req={n * 7919 % 100003:05x} upstream failed"))
    elif n % 13 == 0:
        made.append(line(n, "WARN", f"req={n * 31 % 9973:05x} ERROR budget low"))
    else:
        made.append(line(n, "INFO", f"req={n * 17 % 9973:05x} ok"))
gzip.GzipFile("logs/service.log.2.gz", "wb", mtime=0).write("".join(made[:900]).encode())
open("logs/service.log.1", "w").write("".join(made[900:2000]))
open("logs/service.log", "w").write("".join(made[2000:]))
PY
