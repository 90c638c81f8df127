cat > stats.py <<'PY'
import sys

numbers = sorted(float(line) for line in sys.stdin if line.strip())
if not numbers:
    print("no numbers")
    sys.exit(1)
middle = len(numbers) // 2
median = numbers[middle] if len(numbers) % 2 else (numbers[middle - 1] + numbers[middle]) / 2
print(f"mean {sum(numbers) / len(numbers):.2f}")
print(f"median {median:.2f}")
print(f"range {numbers[-1] - numbers[0]:.2f}")
PY
