"""From a case to what can be run: its inputs at each sweep point, with the model left as it was found."""
