"""What recording costs: each figure stands beside a reference measured in the same run.

Run it as ``python -m benchmarks``; ``README.rst`` says how, and holds the last table.
"""
