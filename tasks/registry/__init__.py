"""The only package that knows MLflow: versions, aliases, packages, runs."""
