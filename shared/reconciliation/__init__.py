"""Fold, rate, compare: pure functions from facts to verdicts. Used by matching, by replays and by the command line.

No I/O, no clock, no randomness: the date is an input (``as_of``), and what PostgreSQL holds for the service is handed
in as :mod:`shared.reconciliation.inputs`. The way of a fact::

    record -> facts.extract -> fold.Registers -> views -> inputs
           -> sides (what is due, what is billed, or why they cannot be compared) -> rules, in order -> verdict -> diff

``measure`` and ``rating`` compute a side; ``client_level`` and ``unmapped`` draw what has no product; ``world`` does
all of it in memory. To add a rule, see :mod:`shared.reconciliation.rules`.
"""
