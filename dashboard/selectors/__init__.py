"""All reads that join or aggregate."""
