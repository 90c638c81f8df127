cat > roman.py <<'PY'
import sys

VALUES = [(1000, "M"), (900, "CM"), (500, "D"), (400, "CD"), (100, "C"), (90, "XC"), (50, "L"), (40, "XL"), (10, "X"),
          (9, "IX"), (5, "V"), (4, "IV"), (1, "I")]


def roman(number):
    text = ""
    for value, sign in VALUES:
        while number >= value:
            text, number = text + sign, number - value
    return text


numbers = {roman(n): n for n in range(1, 4000)}
for line in sys.stdin:
    line = line.strip().upper()
    if line.isascii() and line.isdigit() and 1 <= int(line) <= 3999:
        print(roman(int(line)))
    else:
        print(numbers.get(line, "error"))
PY
