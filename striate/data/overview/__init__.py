"""What a data set is, in numbers and in pictures."""
