"""What flowchan costs, next to what a user would write instead: ``python -m benchmarks --help``.

Every figure of one invocation comes from one machine in one run, so ratios mean something and absolute
times only here and now. No test asserts any of them.
"""
