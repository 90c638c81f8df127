printf '14\nXIV\nIIII\n' > example.in
printf 'XIV\n14\nerror\n' > example.out
