python3 "$(dirname "$0")/make_data.py" > traffic.log
