"""Every Prefect task: only wiring of the packages below."""
