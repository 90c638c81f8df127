cat > report.py <<'PY'
import sys

lines = open(sys.argv[1]).read().split("\n")
for line in sorted(lines[1:]):
    name, hours, rate = line.split(",")
    print(name, "%.2f" % (float(hours) * float(rate)))
PY
printf 'name,hours,rate\nann,2,10\nbob,1.5,20\n' > example.csv
