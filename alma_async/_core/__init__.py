"""One call, from the caller's line to its result, and lists read as they are used: the same for
every remote system.
"""
