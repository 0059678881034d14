"""Rules of the vendors' side: each takes a :class:`~shared.reconciliation.rules.vendor.base.VendorCase`."""
