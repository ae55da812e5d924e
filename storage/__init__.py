"""The only SQL. Functions take a connection first and return frozen records; the caller commits."""
