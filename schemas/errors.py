"""The exception tree. Every message says what is wrong and what to do about it; the command line prints it on one line.

EngraphError
|-- UsageError          arguments or settings that cannot work            exit 2
|-- InvalidRecord       one source record that is refused -> quarantine   (never reaches the user as an exception)
|-- SchemaMismatch      a table that is not what its schema says
|-- StoreError          a store that is missing, locked, damaged or of another version
|   |-- StoreLocked
|   `-- PublishConflict another writer published first: rebase and try again
`-- GateFailed          a new snapshot that is not good enough to be published
"""


class EngraphError(Exception):
    """Base of all errors that Engraph raises on purpose."""


class UsageError(EngraphError):
    """Arguments or settings that cannot work together."""


class InvalidRecord(EngraphError):
    """One source record is refused; the caller turns it into a row of `quarantine`."""


class SchemaMismatch(EngraphError):
    """A table does not have the columns, types, keys or values that its schema promises. Lists every mismatch."""


class StoreError(EngraphError):
    """The store is missing, damaged, or written by another version."""


class StoreLocked(StoreError):
    """Another writer holds the store's lock."""


class PublishConflict(StoreError):
    """Another writer published the next snapshot first."""


class GateFailed(EngraphError):
    """A snapshot did not pass its gates, so it was not published."""
