sed 's/ *$//' hosts.txt | awk 'NF && !seen[tolower($0)]++' > new && mv new hosts.txt
