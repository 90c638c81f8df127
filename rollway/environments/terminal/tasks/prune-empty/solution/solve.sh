find project -type f -empty ! -name .keep -delete
find project -mindepth 1 -type d -empty -delete
