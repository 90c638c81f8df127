find tree -type l -print0 | while IFS= read -r -d '' link; do
    target=$(readlink "$link")
    case $target in
        /srv/tree/*)
            inside=tree/${target#/srv/tree/}
            if [ -e "$inside" ]; then
                ln -sfn "$(realpath --relative-to="$(dirname "$link")" "$inside")" "$link"
            else
                rm "$link"
            fi ;;
    esac
done
find tree -xtype l -delete
