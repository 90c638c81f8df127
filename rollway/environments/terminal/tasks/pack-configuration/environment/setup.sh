mkdir -p etc/app/disabled etc/net.conf "etc/my app"
printf 'a=1\n' > etc/app/main.conf
printf 'b=2\n' > etc/app/disabled/old.conf
printf 'c=3\n' > etc/net.conf/eth0.conf
printf 'd=4\n' > "etc/my app/it is.conf"
printf 'e=5\n' > etc/app/main.conf.bak
printf 'f=6\n' > etc/hosts
ln -s app/main.conf etc/default.conf
