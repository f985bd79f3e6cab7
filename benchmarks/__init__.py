"""What governing reaches, measured: limiters, whole clients, sharing, a day, cost and processes, side by side.

``python -m benchmarks all`` (``make bench``) makes every table and picture in ``results/``; a piece alone is
``python -m benchmarks pacing|clients|sharing|day|cost|processes``. The peers and the plotting library live in an environment
of their own, which the first run makes from ``constraints.txt``. All traffic stays on this machine.
"""
