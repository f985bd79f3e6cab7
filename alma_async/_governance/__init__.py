"""When a request may go: rate governance for one institution's allowance.

``governor`` opens with the theory of operation.
"""
