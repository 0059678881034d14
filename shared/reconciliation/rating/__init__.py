"""What should be billed: terms x what was measured x period -> components, each with its arithmetic (rating.md)."""
