"""What governing reaches, measured: limiters, whole clients, sharing, a day, cost, processes and machines.

``python -m benchmarks all`` (``make bench``) makes every table and picture in ``results/``; a piece alone is
``python -m benchmarks pacing|clients|sharing|day|cost|processes|machines``, and ``--quick`` is a short run to see that all
works. Each goal stands beside its figure, met or missed, in ``results/goals.md``. The peers and the plotting library live in an
environment of their own inside ``.venv``, made by the first run from ``constraints.txt``. All traffic stays on this machine.
"""
