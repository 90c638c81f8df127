mkdir -p site/bin site/secrets "site/html/old pages" site/html/img
printf 'echo run\n' > site/bin/run
printf 'echo stop\n' > site/bin/stop.sh
printf 'echo deploy\n' > "site/html/old pages/de ploy.sh"
printf '<p>hi</p>\n' > site/html/index.html
printf 'png\n' > site/html/img/logo.png
printf 'k1\n' > site/secrets/key.pem
printf 'k2\n' > site/secrets/.token
printf 'notes\n' > site/notes.sh.txt
find site -type f -exec chmod 666 {} +
chmod 777 site site/bin site/html site/secrets
chmod 775 "site/html/old pages"
