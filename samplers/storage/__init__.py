"""The folder of a run: atomic files, checked tensor files, commits, and the fingerprint of a run."""

from samplers.storage.atomic_files import append_line, exists, open_to_read, write_atomically, write_parts
from samplers.storage.code_origin import library_of
from samplers.storage.description import describe
from samplers.storage.run_store import RunStore
from samplers.storage.shard_store import Meter
from samplers.storage.tensor_file import damaged, digest, load_record, save_record

__all__ = [
    "Meter",
    "RunStore",
    "append_line",
    "damaged",
    "describe",
    "digest",
    "exists",
    "library_of",
    "load_record",
    "open_to_read",
    "save_record",
    "write_atomically",
    "write_parts",
]
