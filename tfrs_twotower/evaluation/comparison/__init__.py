"""Several runs over several seeds side by side: statistics, document, tables and page."""
