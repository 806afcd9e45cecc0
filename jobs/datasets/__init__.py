"""Reading people's tables safely: any file to one DuckDB table, and SQL on it, in confinement.

    formats         which kind of table a file is
    ingest          a file becomes a read-only DuckDB file with one table, `data`
    query           one SQL statement on it
    profile         what its columns are like
    confine         the child process all of this happens in

The `*_errand` modules run inside the child only; nothing else imports DuckDB.
"""
