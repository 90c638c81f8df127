mkdir -p "mail/in box/2023" mail/sent mail/empty
cat > mail/one.txt <<'TXT'
Write to Ann.Lee@example.com, or to bob+news@lists.example.org.
No address: user@localhost, @example.com, a@b
TXT
cat > "mail/in box/hello world.txt" <<'TXT'
From: <ANN.LEE@example.com>
To: "Carl" <carl_99@sub.mail.example.net>; dora-x@ex-ample.io
TXT
cat > "mail/in box/2023/old.txt" <<'TXT'
zed@example.com(zed) and bob+news@lists.example.org again.
TXT
printf 'noise@wrong.example.com\n' > mail/sent/draft.bak
printf 'eve@example.co.uk.\nmailto:fay.1@example.com?subject=hi\n' > mail/sent/-n.txt
