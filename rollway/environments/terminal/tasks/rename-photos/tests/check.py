from rollway.environments.terminal.checking import Box, equal

PLACES = {
    "2024-01-31_0008.jpg": "2024-01-31 8.jpeg",
    "2024-02-05_0012.jpg": "2024-02-05 12.jpeg",
    "2024-12-01_1001.jpg": "2024-12-01 1001.jpeg",
    "2023-12-24_0003.jpg": "DSC-20231224-3.jpg",
    "2024-01-31_0007.jpg": "DSC-20240131-7.jpg",
    "2024-01-31_0009.jpg": "IMG_20240131_0007.JPG",
    "2024-01-31_0120.jpg": "IMG_20240131_0120.JPG",
    "2024-02-05_0013.jpg": "IMG_20240205_0012.JPG",
    "notes 2024.txt": "notes 2024.txt",
    "IMG_raw.JPG": "IMG_raw.JPG",
    "DSC-2023-4.jpg": "DSC-2023-4.jpg",
}


async def check_names(box: Box) -> None:
    equal(set(await box.tree("photos")), {"", *PLACES})


async def check_each_name_has_the_right_photo(box: Box) -> None:
    for name, content in PLACES.items():
        equal(await box.text(f"photos/{name}"), content + "\n")
