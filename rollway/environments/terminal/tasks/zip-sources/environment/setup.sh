mkdir -p package/core/__pycache__ package/build/lib package/docs/builder
printf 'x = 1\n' > package/__init__.py
printf 'y = 2\n' > package/core/run.py
printf 'junk\n' > package/core/__pycache__/run.cpython-311.pyc
printf 'junk\n' > package/core/old.pyc
printf 'junk\n' > package/.DS_Store
printf 'junk\n' > package/build/lib/run.py
printf 'docs\n' > package/docs/builder/build.md
