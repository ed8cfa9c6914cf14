"""Every Prefect task: wiring of the packages below, and nothing else."""
