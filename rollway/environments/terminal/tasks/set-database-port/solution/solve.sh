sed -i '/^\[database\]$/,/^\[database.replica\]/{/^\[/b;s/^port = 5432$/port = 6432/;s/^host = db1.internal$/host = db2.internal/}' app.ini
# the range ends with the next header, so the replica's lines are untouched
