"""Systems that find texts, with one encoder: quality, latency, bytes and the served answers."""
