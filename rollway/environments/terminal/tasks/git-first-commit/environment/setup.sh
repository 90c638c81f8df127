mkdir -p project/src/tmp project/tmp
cd project
printf 'int main;\n' > src/main.c
printf 'x\n' > src/debug.log
printf 'x\n' > src/tmp/scratch
printf 'x\n' > tmp/cache
printf 'SECRET=1\n' > .env
printf 'wanted\n' > keep.log
printf '# Project\n' > README.md
