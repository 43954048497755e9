"""Annotated numbers that options share: each name says the range."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

# Whole numbers: at least 1; at least 0.
Count = Annotated[int, Field(ge=1)]
CountOrZero = Annotated[int, Field(ge=0)]
# Numbers: above 0; at least 0.
Positive = Annotated[float, Field(gt=0)]
NonNegative = Annotated[float, Field(ge=0)]
# Parts of a whole: from 0 to 1; from 0 to below 1; from above 0 to 1.
Fraction = Annotated[float, Field(ge=0, le=1)]
FractionBelowOne = Annotated[float, Field(ge=0, lt=1)]
FractionAboveZero = Annotated[float, Field(gt=0, le=1)]
