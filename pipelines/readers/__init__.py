"""Files of any kind -> records of turns and documents. The content chooses the reader, what cannot be read is refused.

    for source in find_sources(["corpus/"]):
        for record in read_source(source, ReadParams()):
            ...  # TurnRecord, DocumentRecord or Refused

The formats are described where they are read: `conversations`, `shapes`, `tables`, `documents`, `archives`.
"""

from pipelines.readers.reading import read_source, reader_name
from pipelines.readers.records import DocumentRecord, ReadParams, Refused, TurnRecord
from pipelines.readers.sources import SourceFile, file_hash, find_sources, open_source, source_file_system

__all__ = [
    "DocumentRecord",
    "ReadParams",
    "Refused",
    "SourceFile",
    "TurnRecord",
    "file_hash",
    "find_sources",
    "open_source",
    "read_source",
    "reader_name",
    "source_file_system",
]
