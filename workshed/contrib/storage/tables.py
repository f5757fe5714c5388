"""The table of the storage: its stream of migrations, and what each role may do with it.

An App names them with `migrations={"workshed_storage": "workshed.contrib.storage"}` and
`grants=("workshed.contrib.storage.tables:GRANTS",)`.
"""

from workshed.roles import Grants

STREAM = "workshed_storage"
"""The name of the stream, and of its schema."""

GRANTS = Grants(
    schema=STREAM,
    tables={
        "workshed_storage.blobs": {
            "application": "raw",
            "worker": "rawd",
            "operator": "rawd",
            "reader": "r",
        },
    },
)
