"""Commands of the optional parts, for the App that includes them."""
