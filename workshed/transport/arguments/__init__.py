"""Arguments of an actor as its annotations declare them: checked, encoded, decoded, described."""
