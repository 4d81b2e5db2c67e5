"""The shells: here, and only here, things wait."""
