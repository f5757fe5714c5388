"""Write the files of a new service, and those that deploy one, from templates."""
