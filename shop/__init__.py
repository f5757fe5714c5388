"""The sample service: people, campaigns, imports, reports, pictures, syncs."""
