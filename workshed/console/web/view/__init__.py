"""What the pages share: templates, cursors, responses."""
