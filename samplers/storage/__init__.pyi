from .atomic_files import append_line, exists, open_to_read, write_atomically, write_parts
from .code_origin import library_of
from .description import describe
from .run_store import RunStore
from .shard_store import Meter
from .tensor_file import damaged, digest, load_record, save_record

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
