"""Books that were tampered with: verification must find and name each change."""
