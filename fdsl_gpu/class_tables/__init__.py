"""Class parameters that cost a search: the table, its file format, the shipped tables and the cache of larger ones."""

from fdsl_gpu.class_tables.cache import cache_dir, exfractaldb_table, fractaldb_table, load_classes, measured_table
from fdsl_gpu.class_tables.table import IFSTable, builtin, load_table, save_table

__all__ = [
    "IFSTable",
    "builtin",
    "cache_dir",
    "exfractaldb_table",
    "fractaldb_table",
    "load_classes",
    "load_table",
    "measured_table",
    "save_table",
]
