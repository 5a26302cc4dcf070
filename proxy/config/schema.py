"""JSON Schema of the configuration file, for editors and for `hivemesh check --schema`.

Made from the same tables of keys that read the file. It says what each value may look like on its own; how keys go
together (names that must exist, keys that exclude each other) only the reader checks.
"""

from __future__ import annotations

from proxy.config.document import DOCUMENT
from proxy.config.shapes import Json, Schema

DIALECT = "https://json-schema.org/draft/2020-12/schema"


def schema() -> dict[str, Json]:
    defs: Schema = {}
    root = DOCUMENT.schema(defs)
    return {"$schema": DIALECT, "title": "hivemesh configuration", **root, "$defs": defs}
