"""`python -m shop.demo`: run the jobs of the sample service, and show what happens to each."""
