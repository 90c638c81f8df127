cat > events.log <<'LOG'
1709251199 leap day ends
1709251199.9 just before midnight
0 the  beginning
-- marker --
1709251200 march
1000000000.5 billennium b
1000000000.25 billennium a
1709251200 march again
time unknown
1709164800 leap day   begins
LOG
