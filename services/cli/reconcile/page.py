"""The report: one self-contained page."""

from services.cli.reconcile.answer import Answer


def report(answer: Answer) -> str:
    return ""
