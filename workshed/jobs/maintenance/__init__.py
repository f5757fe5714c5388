"""Delete old records, and personal data."""
