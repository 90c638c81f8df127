cat > lines.sh <<'SH'
count=10 reverse=cat unique=cat
fail() { echo "lines.sh: $1" >&2; exit 2; }
while getopts ':n:ru' option; do
    case $option in
        n) count=$OPTARG ;;
        r) reverse=tac ;;
        u) unique='awk !seen[$0]++' ;;
        *) fail "unknown option -$OPTARG" ;;
    esac
done
shift $((OPTIND - 1))
[[ $count =~ ^[0-9]+$ ]] || fail "no whole number: $count"
if [ $# -gt 0 ]; then
    [ -f "$1" ] && [ -r "$1" ] || fail "cannot read $1"
    exec < "$1"
fi
set -f
$unique | head -n "$count" | $reverse
SH
