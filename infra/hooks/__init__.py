"""The hooks of azure.yaml. Each may be run again at any time; only the standard library is imported."""
