"""What a laptop has instead of Azure. Never imported by `shared/`."""
