work=$(mktemp -d)
tar -xzf parcel.tar.gz -C "$work"
zcat "$work/one/data.bin" | tar -xf - -C "$work"
python3 -c 'import sys, zipfile; zipfile.ZipFile(sys.argv[1]).extractall(sys.argv[2])' "$work/pictures.jpg" "$work/out"
sed -n 2p "$work/out/deep/note.txt" > note-content.txt
rm -r "$work"
