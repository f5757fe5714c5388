"""What writes parts of the documents from the code; not shipped."""
