"""The shell scripts that run inside a container: plain POSIX sh, nothing else needs to be in the image.

Every command runs under `RUN` with a mark of its own in its environment. `KILL` ends what bears the mark and
all that came of it, with shell builtins alone, so that it starts nothing where places are short. It looks
until nothing is left, which takes a while on a busy machine; whoever waits for it has a deadline.
"""

from __future__ import annotations

MARK = "ROLLWAY_COMMAND"
"""The variable by which a command's processes are known."""

# exit codes of the file scripts; an ordinary program does not use them
OUTSIDE, MISSING, FOLDER, IRREGULAR, NOT_FOLDER, LOOP, TOO_LARGE, FAILED = range(90, 98)

NO_DIRECTORY = 256
"""No command's exit code: the folder to start in is missing."""

# What keeps a container there: as its first process it cannot be killed from inside, and it reaps what the
# commands leave. The mark on it and its child is none of a command's. Where a command has used up all
# processes, the engine itself cannot bring in one more, not even `KILL`: a signal has this end the others.
IDLE = r"""
trap 'kill -KILL -1' USR1
while :; do
  sleep 2147483647 &
  wait $!
  [ $? -ne 127 ] || exit 127
done
"""

# Arguments: a nonce in two parts (so that it stands in no list of processes), the folder, "shell", "list" or
# "joined" (stderr goes to stdout), "stdin" or "none", the command.
# The command's end is told on both outputs, because the exit code of an engine's client may be the engine's
# own, and because a daemon that the command left behind may hold the outputs open. Messages of this shell
# itself ("Killed") would be taken for the command's, so they go nowhere. Podman's client loses output where
# stdin was not read to its end, so that is done for a command that did not.
RUN = r"""
rollway_nonce=$1$2 rollway_folder=$3 rollway_kind=$4
rollway_stdin=$5
shift 5
exec 9>&2
cd -- "$rollway_folder" 2>/dev/null || {
  printf '%s NO_DIRECTORY\n' "$rollway_nonce"
  printf '%s NO_DIRECTORY\n' "$rollway_nonce" >&9
  exit 1
}
case $rollway_kind in
  joined) exec 8>&1 ;;
  shell) if command -v bash >/dev/null 2>&1; then set -- bash -c "$1"; else set -- sh -c "$1"; fi ;;
esac
[ "$rollway_kind" = joined ] || exec 8>&2
exec 2>/dev/null
(exec "$@" 2>&8 8>&- 9>&-)
rollway_code=$?
printf '%s %s\n' "$rollway_nonce" "$rollway_code"
printf '%s %s\n' "$rollway_nonce" "$rollway_code" >&9
[ "$rollway_stdin" = none ] || cat > /dev/null
exit "$rollway_code"
""".replace("NO_DIRECTORY", str(NO_DIRECTORY))

# Arguments: the mark ("" for all commands), 1 to spare the command's own process, and where older processes
# are to be spared, the age from which on, and the moment of the kernel's clock that this is: hundredths of a
# second, and the boot that the clock counts from. The age is only for an engine with a kernel of its own, for
# it has grown while the engine brought this in.
# A process belongs to the command if it bears the mark, or was started by one that belongs, or lost both its
# mark and its parents while the command ran and belongs to no other command. All are stopped first, so that
# none starts another meanwhile, and then killed. Exit code 0: none is left.
KILL = r"""
mark=$1 spare=$2 age=$3 oldest=${4:-0} boot=$5 here= began= first= stopped=' '
if [ -n "$age" ]; then
  { read -r here < /proc/sys/kernel/random/boot_id; } 2>/dev/null
  if [ -z "$here" ] || [ "$here" != "$boot" ]; then
    read -r up _ < /proc/uptime
    oldest=$(( ${up%.*}${up#*.} - age ))
  fi
fi

scan() {
  table=
  for folder in /proc/[0-9]*; do
    pid=${folder#/proc/}
    if [ "$pid" = "$$" ] || [ "$pid" = 1 ]; then continue; fi
    stat= whose=none
    [ -n "$mark" ] || whose=own
    while IFS= read -r line || [ -n "$line" ]; do stat="$stat $line"; done 2>/dev/null < "$folder/stat"
    set -- ${stat##*) }
    [ $# -ge 20 ] || continue
    case $1 in Z|X) continue ;; esac
    while IFS= read -r line || [ -n "$line" ]; do
      case $line in
        *MARK=idle*) whose=other ;;
        *MARK="$mark"*) whose=own ;;
        *MARK=*) [ $whose = own ] || whose=other ;;
      esac
    done 2>/dev/null < "$folder/environ"
    if [ $whose = own ] && [ "$2" = 0 ] && [ -z "$began" ]; then began=${20} first=$pid; fi
    table="$table $pid:$2:${20}:$whose"
  done
}

collect() {
  all=' ' targets= more=1
  while [ $more = 1 ]; do
    more=0
    for entry in $table; do
      pid=${entry%%:*} rest=${entry#*:}
      parent=${rest%%:*} rest=${rest#*:}
      start=${rest%%:*} whose=${rest#*:}
      case $all in *" $pid "*) continue ;; esac
      if [ $whose != own ]; then
        case $all in
          *" $parent "*) ;;
          *)
            [ $whose = none ] && [ "$parent" = 1 ] || continue
            [ -n "$began" ] && [ "$start" -ge "$began" ] || continue ;;
        esac
      fi
      all="$all$pid " more=1
      if [ $spare = 1 ] && [ "$pid" = "$first" -o "$parent" = "$first" ]; then continue; fi
      [ "$start" -ge "$oldest" ] || continue
      targets="$targets $pid"
    done
  done
}

while :; do
  while :; do
    scan; collect; fresh=
    for pid in $targets; do
      case $stopped in *" $pid "*) ;; *) fresh="$fresh $pid" stopped="$stopped$pid " ;; esac
    done
    [ -n "$fresh" ] || break
    kill -STOP $fresh 2>/dev/null
  done
  [ -n "$targets" ] || exit 0
  kill -KILL $targets 2>/dev/null
done
""".replace("MARK", MARK)

# The file scripts. Arguments: the workspace, then a path relative to it, without ``..`` and never empty.
# `enter FOLDER MAKE` goes into a folder of the workspace and `settle NAME` follows a last symbolic link.
_INSIDE = r"""
set -f
top=$1 path=$2
inside() { case $1/ in "$top"/*) ;; *) exit OUTSIDE ;; esac; }
enter() {
  cd -P -- "$top" || exit FAILED
  rest=$1/
  while [ -n "$rest" ]; do
    part=${rest%%/*} rest=${rest#*/}
    [ -n "$part" ] || continue
    if [ ! -e "./$part" ] && [ ! -L "./$part" ]; then
      [ "$2" = make ] || exit MISSING
      mkdir -- "./$part" || exit FAILED
    fi
    [ -e "./$part" ] || { settle "$part"; exit MISSING; }
    [ -d "./$part" ] || exit NOT_FOLDER
    cd -P -- "./$part" || exit FAILED
    inside "$PWD"
  done
}
settle() {
  file=./$1
  if [ -L "$file" ]; then
    file=$(readlink -f "$file") || { [ $? -ne 127 ] || exit 127; exit LOOP; }
    inside "$file"
  fi
}
case $path in */*) parent=${path%/*} name=${path##*/} ;; *) parent= name=$path ;; esac
"""

_REGULAR = r"""
settle "$name"
[ -e "$file" ] || exit MISSING
[ ! -d "$file" ] || exit FOLDER
[ -f "$file" ] || exit IRREGULAR
"""

READ = (
    _INSIDE
    + 'enter "$parent"'
    + _REGULAR
    + r"""
if [ -n "$3" ]; then head -c "$3" < "$file"; else cat < "$file"; fi || exit FAILED
"""
)

WRITE = (
    _INSIDE
    + r"""
enter "$parent" make
settle "$name"
[ ! -d "$file" ] || exit FOLDER
[ ! -e "$file" ] || [ -f "$file" ] || exit IRREGULAR
case $file in */*) new=${file%/*}/.$$.part ;; *) new=.$$.part ;; esac
trap 'rm -f -- "$new"' EXIT  # a limit that is reached on the way leaves the file as it was
[ ! -e "$file" ] || { [ -w "$file" ] && cp -p -- "$file" "$new"; } || exit FAILED  # for its permissions
cat > "$new" || { [ $? -ne 153 ] || exit TOO_LARGE; exit FAILED; }  # 153: by the signal of the file limit
[ "$3" != executable ] || chmod a+x "$new" || exit FAILED
mv -f -- "$new" "$file" || exit FAILED
"""
)

PACK = (
    _INSIDE
    + r"""
if [ "$path" = . ]; then
  enter ''; file=.
else
  enter "$parent"; settle "$name"
  [ -e "$file" ] || exit MISSING
  [ -d "$file" ] || [ -f "$file" ] || exit IRREGULAR
  if [ -d "$file" ]; then cd -P -- "$file"; file=.
  else case $file in /*) cd -P -- "${file%/*}"; file=./${file##*/} ;; esac; fi
fi
tar -c -f - -- "$file"
"""
)

# A further argument "empty" removes what the workspace holds before.
UNPACK = (
    _INSIDE
    + r"""
if [ "$path" = . ]; then enter ''; else enter "$path" make; fi
if [ "$3" = empty ]; then
  set +f
  chmod -R u+rwX . 2>/dev/null
  rm -rf -- ./* ./.[!.]* ./..?* || exit FAILED
fi
EXTRACT_UNSAFE_SYMLINKS=1 tar -x -o -p -f -
"""
)


def _with_codes(script: str) -> str:
    codes = {
        "OUTSIDE": OUTSIDE,
        "MISSING": MISSING,
        "FOLDER": FOLDER,
        "IRREGULAR": IRREGULAR,
        "NOT_FOLDER": NOT_FOLDER,
        "LOOP": LOOP,
        "TOO_LARGE": TOO_LARGE,
        "FAILED": FAILED,
    }
    for name, code in codes.items():
        script = script.replace(f"exit {name}", f"exit {code}")
    return script


READ, WRITE, PACK, UNPACK = (_with_codes(script) for script in (READ, WRITE, PACK, UNPACK))
