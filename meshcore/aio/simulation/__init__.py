"""Simulated nodes: the real link, the real breakers and the real drain, around calls that nobody makes."""
