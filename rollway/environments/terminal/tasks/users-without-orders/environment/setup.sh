here=$(dirname "$0")
python3 "$here/make_data.py" users > users.tsv
python3 "$here/make_data.py" orders > orders.tsv
