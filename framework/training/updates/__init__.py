"""What one update of the parameters is made of: optimisers, schedules, averages, precision, non-finite gradients."""
