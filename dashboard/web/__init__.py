"""The pages: thin views that ask selectors, call services and choose a template."""
