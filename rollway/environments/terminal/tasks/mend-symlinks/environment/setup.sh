mkdir -p tree/a/b tree/c "tree/with space"
printf 'one\n' > tree/a/one.txt
printf 'two\n' > tree/c/two.txt
printf 'three\n' > "tree/with space/three.txt"
ln -s ../c/two.txt tree/a/good
ln -s ../c/gone.txt tree/a/dangling
ln -s /srv/tree/c/two.txt tree/a/b/deep
ln -s /srv/tree/a/one.txt tree/top
ln -s "/srv/tree/with space/three.txt" "tree/with space/to three"
ln -s /srv/tree/c/missing.txt tree/c/lost
ln -s good tree/a/chain
ln -s ../a tree/c/folder
