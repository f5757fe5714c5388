"""The domain of the service: people, campaigns, imports, reports, pictures."""
