"""Detection objectives beyond losses: the task's reward, relaxed average precision, tuning."""
