cd inbox
for path in ./* ./.[!.]*; do
    [ -f "$path" ] || continue
    name=${path#./}
    case ${name#?} in
        *.*) folder=$(printf '%s' "${name##*.}" | tr 'A-Z' 'a-z') ;;
        *) folder=other ;;
    esac
    mkdir -p "$folder"
    mv "$path" "$folder/"
done
