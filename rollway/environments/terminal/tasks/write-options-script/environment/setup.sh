printf 'c\na\nc\nb\na\nd\n' > example.txt
