"""Install what this checkout needs, into folders of its own."""
