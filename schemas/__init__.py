"""What is true on disk: table schemas, ids, fingerprints, manifests, settings, errors. Imports nothing of Engraph."""
