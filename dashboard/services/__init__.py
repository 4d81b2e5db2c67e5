"""All writes: plain functions, keyword-only, with audit in the same transaction."""
