"""What the estimators need to know about distributions: their noise, their support, their differentiable paths."""
