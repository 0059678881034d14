"""Fold, rate, compare: pure functions from facts to verdicts. Used by matching, by replays and by the command line.

No I/O, no clock: the date is an input (``as_of``), and what PostgreSQL holds for the service is handed in as
:mod:`shared.reconciliation.inputs`.
"""
