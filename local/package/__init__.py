"""Build the package that is deployed: `make package`."""
