"""One connection to the log: commands out, answers in, on accord's own thread."""
