"""Offline packages for people without a network: BagIt bags with a gallery and a checker (docs/delivery.md)."""
