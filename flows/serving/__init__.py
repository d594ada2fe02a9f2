"""Prefect around the flows: what is deployed, who is told, what a laptop's one command starts, and how runs are found again."""
