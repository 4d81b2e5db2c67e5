"""The dashboard: records what nodes report, shows it live, and holds the desired state."""
