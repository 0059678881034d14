"""Rules of labour: each takes a :class:`~shared.reconciliation.rules.labour.base.LabourCase`."""
