"""Where and how: jobs read tables, call the pure functions of `pipelines`, and write tables."""
