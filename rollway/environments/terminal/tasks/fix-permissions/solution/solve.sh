find site -type d -exec chmod 755 {} +
find site -type f -exec chmod 644 {} +
find site -type f -name '*.sh' -exec chmod 755 {} +
find site/bin -type f -exec chmod 755 {} +
find site/secrets -type f -exec chmod 600 {} +
chmod 700 site/secrets
