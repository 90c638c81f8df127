"""Tasks from data: a file, a folder or a dataset on the Hub, read as the rows are needed.

Nothing is opened, read or downloaded before `open_data` or `find_rows` is called, and no code of a dataset
is ever run.
"""

from rollway.data.rows import DataRows
from rollway.data.source import Data, DatasetSource, find_rows, open_data

__all__ = ["Data", "DataRows", "DatasetSource", "find_rows", "open_data"]
