"""The statistics table: its layout, and what of it is shown to Prometheus."""
