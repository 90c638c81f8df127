cd repo
git merge feature >/dev/null
printf 'NAME = "app"\nTIMEOUT = 30\nRETRIES = 5\n\n\nDEBUG = False\nCACHE = True\n' > config.py
git add config.py
git commit -q -m 'Merge feature'
