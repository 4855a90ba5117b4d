"""Reads the typed columns of a table, in the same way for every format."""

from kgrec._deprecation import renamed

__getattr__ = renamed(
    __name__,
    {
        "Columns": "kgrec.sources.tables.table_columns:Columns",
        "TableReader": "kgrec.sources.tables.opening:TableReader",
        "files_of": "kgrec.sources.tables.opening:files_of",
        "read_table": "kgrec.sources.tables.table_columns:read_table",
        "readers": "kgrec.sources.tables.opening:readers",
        "SUFFIXES": "kgrec.sources.tables.opening:SUFFIXES",
    },
)
