cat > stats.py <<'PY'
import sys


def median(numbers):
    middle = len(numbers) // 2
    return numbers[middle]


numbers = [int(line) for line in sys.stdin]
print("mean %.2f" % (sum(numbers) // len(numbers)))
print("median %.2f" % median(numbers))
print("range %.2f" % (numbers[-1] - numbers[0]))
PY
printf '9\n1\n\n3\n4\n3\n4\n' > example.txt
