{ zcat logs/service.log.2.gz; cat logs/service.log.1 logs/service.log; } \
    | awk '/service started/ {id = ""} $3 == "ERROR" && id == "" {id = $4} END {sub("req=", "", id); print id}' > answer.txt
