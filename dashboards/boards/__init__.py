"""The program that makes the boards in dashboards/grafana; `python -m dashboards.boards` writes them.

For developers only: what is shipped is the JSON. A test fails when it is not what this program makes.
"""
