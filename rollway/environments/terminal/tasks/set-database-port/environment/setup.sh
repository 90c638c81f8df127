cat > app.ini <<'INI'
; main configuration
[server]
host = 0.0.0.0
port = 5432   ; yes, the same number

[cache]
port=5432
host=cache1.internal

[database]
# moved last year: port = 3306
host = db1.internal
port = 5432
user = app

[database.replica]
host = db1.internal
port = 5432
INI
