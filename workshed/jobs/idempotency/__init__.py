"""What has happened already."""
