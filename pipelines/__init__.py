"""What is computed: pure functions from Arrow tables to Arrow tables. No clock, no randomness, no network, no engine."""
