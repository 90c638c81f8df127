find etc -name disabled -prune -o \( -type f -o -type l \) -name '*.conf' -print0 | tar --null -czf conf.tar.gz --files-from=-
