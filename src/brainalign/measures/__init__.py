"""What is asked: measures take Responses and give a Result."""

from __future__ import annotations

from brainalign.errors import MeasureError
from brainalign.registry import Registry

MEASURES = Registry("measure", "brainalign.measures", MeasureError)

__all__ = ["MEASURES"]
