"""Fuzzing: everything that reads what others wrote, fed with mutations of sound and of nasty inputs.

``make test`` runs a fixed number of them. Longer, and elsewhere each time: ``python -m tests.fuzz --seconds 600 [TARGET …]``.
"""
