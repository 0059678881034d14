"""``plumbline reconcile``: from spreadsheets to statements, without a server or a database.

``sheets`` reads files by their profiles, ``assumed`` says what is taken for granted where nobody said it, ``answer``
draws, and ``terminal``, ``tables`` and ``page`` show the one answer. The engine is :mod:`shared.reconciliation`.
"""
