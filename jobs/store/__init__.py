"""The store: lake of immutable filesets, snapshots, ledger, lock, pins."""
