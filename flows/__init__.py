"""When and in what order: the stages of an ingest, and the command line. Flows pass addresses, never data."""
