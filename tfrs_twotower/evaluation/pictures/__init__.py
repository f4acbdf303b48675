"""Pictures of the report page: matplotlib figures as inline SVG."""
