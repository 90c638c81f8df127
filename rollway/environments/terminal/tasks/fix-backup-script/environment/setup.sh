cat > backup.sh <<'SH'
#!/bin/bash
SOURCE=$1
TARGET=$2
mkdir $TARGET
count=0
for file in $(ls $SOURCE/*.txt)
do
  cp $file $TARGET/$(basename $file).bak
  count=$count+1
done
echo $count files copied
SH
mkdir example
printf 'a\n' > example/a.txt
printf 'b\n' > "example/b c.txt"
