mkdir photos
cd photos
for name in 'IMG_20240131_0007.JPG' '2024-02-05 12.jpeg' 'DSC-20231224-3.jpg' 'DSC-20240131-7.jpg' '2024-01-31 8.jpeg' \
    'IMG_20240131_0120.JPG' 'IMG_20240205_0012.JPG' '2024-12-01 1001.jpeg' 'notes 2024.txt' 'IMG_raw.JPG' 'DSC-2023-4.jpg'; do
    printf '%s\n' "$name" > "$name"
done
