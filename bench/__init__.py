"""How fast it is, beside its peers, in one run: `python -m bench`. Not shipped."""
