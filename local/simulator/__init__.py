"""A faithful simulation of Azure OpenAI: several regions in one process, deterministic, with faults on demand."""
