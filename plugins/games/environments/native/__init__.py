"""Games written in torch: thousands in one tensor, on any device."""
