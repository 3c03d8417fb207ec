"""What starts, watches and ends processes, and moves no measurement. Imports the hall and machine."""
