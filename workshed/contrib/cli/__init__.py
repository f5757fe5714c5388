"""Commands of the parts, for the App that takes them."""
