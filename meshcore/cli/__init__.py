"""Entry points of `python -m meshcore`."""
