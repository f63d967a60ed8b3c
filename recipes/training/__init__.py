"""What the recipes that train a network share: runs, batches, schedules, evaluation."""
