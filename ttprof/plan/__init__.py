"""Turns a case into trials: finds the inputs at each sweep point and restores the model afterwards."""
