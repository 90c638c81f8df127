mkdir -p inbox/keep.d
cd inbox
for name in 'Photo.JPG' 'photo two.jpg' 'archive.tar.gz' 'README' '.hidden' '.profile.sh' '-rf.txt' 'a.TXT' 'keep.d/x.txt'; do
    printf '%s\n' "$name" > "./$name"
done
