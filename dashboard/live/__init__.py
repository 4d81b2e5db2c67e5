"""Live pages over websockets."""
