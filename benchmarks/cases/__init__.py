"""What is measured: a case a file, each with ``run(quick=…)`` that gives one report or more."""
