"""The pages of the site that are made from the code while `make docs` runs; none of them is committed."""
