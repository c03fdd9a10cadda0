"""Reading traces without torch: a file enters, columns of integer nanoseconds and answers about them leave."""
