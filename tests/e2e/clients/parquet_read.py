"""Reads Parquet files with DuckDB, which shares nothing with what wrote them: columns and rows as JSON."""

import json
import sys

import duckdb

files = sys.argv[1:]
found = duckdb.sql("select * from read_parquet($files)", params={"files": files})
columns = [[name, str(kind)] for name, kind in zip(found.columns, found.types)]
rows = [
    [value.hex() if isinstance(value, bytes) else value for value in row]
    for row in found.fetchall()
]
print(json.dumps({"columns": columns, "rows": rows}, default=str))
