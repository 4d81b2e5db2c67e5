"""The web server: Daphne's, owned and bounded."""
